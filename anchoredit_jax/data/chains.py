"""Samples of stages 2 and 3: the source and a run of successive turns.

A session's turns are cut into runs. The first starts at the source; a later one shows
the source, the frame before its first target as history, then its targets. So a run of
s turns has s targets, or s - 1. How many runs of which lengths a session has is static,
so that buckets are; in which order they follow, and so where they are cut, changes by
epoch, as do the places of identity turns.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence

from anchoredit_jax.data.groups import Groups, Members
from anchoredit_jax.data.keys import key_of, uniform_of
from anchoredit_jax.data.permutation import permute
from anchoredit_jax.data.runs import Run, all_turns, successive
from anchoredit_jax.data.samples import Sample, Sections, share_out

Lengths = tuple[int, ...]  # turns shown in each run of a session


@dataclasses.dataclass(frozen=True)
class _Section:
    """Sessions that are cut alike, and those of their runs that are as long.

    Attributes:
      first: place of the first of them, in a shuffled order of their group.
      nulls: identity turns of each.
      runs: lengths of all their runs.
      length: the length of those runs that the section has.
    """

    group: int
    first: int
    nulls: int
    runs: Lengths
    length: int


class Chains:
    """See `Samples`: an epoch holds every turn of every session once as a target."""

    def __init__(
        self,
        groups: Groups,
        members: Members,
        turns: int,
        null_fraction: float,
        skip_probability: float,
        name: Sequence[object],
        mix: bool = False,
    ):
        """
        Args:
          turns: N, the most that a run shows, 2 or more.
          null_fraction: share of the identity turns among all.
          skip_probability: of the sessions that could be cut in one way only, the share
            that is cut into one run more.
          name: the dataset and the seed, from which orders follow.
          mix: runs of all lengths are of one bucket.
        """
        self._groups, self._members, self._name = groups, members, tuple(name)
        found: dict[tuple, list[tuple[_Section, int]]] = {}
        for group, (edits, size) in enumerate(groups.shapes):
            ways = ways_to_cut(edits, turns, null_fraction, skip_probability)
            weights = [weight for weight, _, _ in ways]
            count, first = int(members.sizes[group]), 0
            shares = share_out(count, weights, *name, "share", group)
            for share, (_, nulls, runs) in zip(shares, ways, strict=True):
                for length, times in Counter(runs).items() if share else ():
                    section = _Section(group, first, nulls, runs, length)
                    bucket = (turns if mix else length, size)
                    found.setdefault(bucket, []).append((section, share * times))
                first += share
        self.shapes = tuple(sorted(found, key=lambda shape: (shape[1], shape[0])))
        self._sections = [Sections.of(found[shape]) for shape in self.shapes]
        self.sizes = [len(sections) for sections in self._sections]

    def sample(self, epoch: int, bucket: int, number: int) -> Sample:
        section, place = self._sections[bucket].locate(number)
        group, runs = section.group, section.runs
        place, copy = divmod(place, runs.count(section.length))
        count = int(self._members.sizes[group])
        key = key_of(*self._name, "cut", group)
        rank = permute(section.first + place, count, key)
        session = self._members.find(group, rank)
        part = [i for i, length in enumerate(runs) if length == section.length][copy]
        return Sample(session, part, self._run(epoch, session, section, part))

    def _run(self, epoch: int, session: int, section: _Section, part: int) -> Run:
        def shuffled(count: int, what: str) -> list[int]:
            return sorted(
                range(count),
                key=lambda i: uniform_of(*self._name, what, epoch, session, i),
            )

        edits = self._groups.shapes[section.group][0]
        nulls = shuffled(edits + section.nulls, "nulls")[: section.nulls]
        start = 0
        for place, other in enumerate(shuffled(len(section.runs), "order")):
            stop = start + section.runs[other] - (place > 0)
            if other == part:
                break
            start = stop
        return successive(all_turns(edits, nulls), start, stop)


def ways_to_cut(
    edits: int, turns: int, null_fraction: float, skip_probability: float
) -> list[tuple[float, int, Lengths]]:
    """How sessions of so many edits are cut: (share, identity turns, runs' lengths)."""
    whole, part = divmod(edits * null_fraction / (1 - null_fraction), 1)
    ways = []
    for nulls, share in ((int(whole), 1 - part), (int(whole) + 1, part)):
        total = edits + nulls
        few = fewest_runs(total, turns)
        kinds = [(1.0, cuts(total, few, turns))]
        more = cuts(total, few + 1, turns)
        # Runs that are all full leave no choice of where they start.
        if more and (few == 1 or sum(kinds[0][1][0]) == few * turns):
            kinds = [(1 - skip_probability, kinds[0][1]), (skip_probability, more)]
        for weight, found in kinds:
            for runs in found if share * weight else ():
                ways.append((share * weight / len(found), nulls, runs))
    return ways


def fewest_runs(total: int, turns: int) -> int:
    """Runs that `total` turns need; all but the first show one that is no target."""
    return max(1, -(-(total - 1) // (turns - 1)))


def cuts(total: int, runs: int, turns: int) -> list[Lengths]:
    """Ways to cut `total` turns into `runs` runs of at most `turns`.

    All runs but two are as long as can be; none is shorter than 2: gaps are real ones.
    """
    if runs == 1:
        return [(total,)]
    rest = total + runs - 1 - turns * (runs - 2)
    shortest = range(max(2, rest - turns), rest // 2 + 1)
    return [(turns,) * (runs - 2) + (a, rest - a) for a in shortest]
