"""Samples of stage 1: every edit of every session by itself, and kept frames."""

from collections.abc import Sequence

from anchoredit_jax.data.groups import Groups, Members
from anchoredit_jax.data.keys import key_of
from anchoredit_jax.data.permutation import permute
from anchoredit_jax.data.runs import identity, pair
from anchoredit_jax.data.samples import Sample, Sections, share_out


class Pairs:
    """See `Samples`: an epoch holds every edit once (frame k, instruction k, frame
    k + 1), and identity pairs (frame k, "", frame k) between them.

    Every epoch keeps other frames, until all frames of a size have been.
    """

    def __init__(
        self,
        groups: Groups,
        members: Members,
        null_fraction: float,
        name: Sequence[object],
    ):
        """
        Args:
          null_fraction: share of the identity pairs among all samples.
          name: the dataset and the seed, from which orders follow.
        """
        self._groups, self._members, self._name = groups, members, tuple(name)
        of_size: dict[object, list[int]] = {}
        for group, (_, size) in enumerate(groups.shapes):
            of_size.setdefault(size, []).append(group)
        self.shapes = tuple((1, size) for size in of_size)
        self._edits = [self._sections(found, 0) for found in of_size.values()]
        self._frames = [self._sections(found, 1) for found in of_size.values()]
        ratio = null_fraction / (1 - null_fraction)
        self._nulls = []
        for bucket, edits in enumerate(self._edits):
            whole, part = divmod(ratio * len(edits), 1)
            more, _ = share_out(1, (part, 1 - part), *self._name, "nulls", bucket)
            self._nulls.append(int(whole) + more)
        self.sizes = [
            len(edits) + nulls
            for edits, nulls in zip(self._edits, self._nulls, strict=True)
        ]

    def _sections(self, groups: Sequence[int], more: int) -> Sections:
        """Sessions times turns and `more`, by group."""
        return Sections.of(
            [
                (group, int(self._members.sizes[group]) * (self._turns(group) + more))
                for group in groups
            ]
        )

    def _turns(self, group: int) -> int:
        return self._groups.shapes[group][0]

    def sample(self, epoch: int, bucket: int, number: int) -> Sample:
        edits, frames = self._edits[bucket], self._frames[bucket]
        if number < len(edits):
            group, place = edits.locate(number)
            rank, edit = divmod(place, self._turns(group))
            return Sample(self._members.find(group, rank), edit, pair(edit))
        place = epoch * self._nulls[bucket] + number - len(edits)
        cycle, place = divmod(place, len(frames))
        key = key_of(*self._name, "identity", bucket, cycle)
        group, place = frames.locate(permute(place, len(frames), key))
        rank, frame = divmod(place, self._turns(group) + 1)
        part = self._turns(group) + frame
        return Sample(self._members.find(group, rank), part, identity(frame))
