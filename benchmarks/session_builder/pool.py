"""A pool of instructions, out of which every image gets a list of its own.

A pool is a list as in `notation` whose order does not matter: edits that say
[local] or [global], and returns, which are [undo], [return 0] or [return any]; the text
of the last has "{turn}" where the number goes:

    [local] add a straw hat
    [global] make it a rainy night
    [undo] undo the last change
    [return 0] go back to the original image
    [return any] go back to the picture after edit {turn}

A list has no edit twice. A fifth of its turns are returns, none before turn 3 and none
right after another; of the other turns, three in ten are global.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from anchoredit_jax import files
from anchoredit_jax.errors import UserError
from benchmarks.session_builder.notation import ANY, UNDO, Instruction

RETURN_SHARE = 0.2
GLOBAL_SHARE = 0.3
FIRST_RETURN = 3  # turn 2 could only return to the source

_TURN = "{turn}"


@dataclasses.dataclass(frozen=True)
class Pool:
    """What lists are drawn from.

    Attributes:
      edits: by scope, "local" and "global".
      returns: entries whose `returns_to` is 0, `UNDO` or `ANY`.
    """

    edits: dict[str, tuple[Instruction, ...]]
    returns: tuple[Instruction, ...]


def make_pool(entries: Sequence[Instruction], turns: tuple[int, int]) -> Pool:
    """The entries by kind.

    Args:
      turns: the fewest and the most of a list.

    Raises:
      UserError: an entry is of no kind, the languages differ, or there are too few of
        a kind for the longest list.
    """
    for number, entry in enumerate(entries, 1):
        _check_entry(entry, f"entry {number} of the pool")
        if entry.texts.keys() != entries[0].texts.keys():
            raise UserError(
                f"entry {number} of the pool is in {sorted(entry.texts)}, the first in "
                f"{sorted(entries[0].texts)}: all must be in the same languages"
            )
    returns = tuple(entry for entry in entries if entry.returns_to is not None)
    edits = {
        scope: tuple(x for x in entries if x.returns_to is None and x.scope == scope)
        for scope in ("local", "global")
    }
    counts = range(turns[0], turns[1] + 1)
    most = [max(needed) for needed in zip(*map(_edits_of, counts), strict=True)]
    for (scope, found), needed in zip(edits.items(), most, strict=True):
        if len(found) < needed:
            raise UserError(
                f"lists of up to {turns[1]} turns have up to {needed} {scope} edits, "
                f"the pool has {len(found)}: add some to it"
            )
    if _returns_of(turns[1]) and not returns:
        raise UserError("the pool has no return, such as '[undo] undo the last change'")
    return Pool(edits, returns)


def draw_list(
    pool: Pool, turns: tuple[int, int], seed: int, name: str
) -> list[Instruction]:
    """The list of one image: a function of these arguments and of no other image.

    Args:
      turns: the fewest and the most.
      name: of the image's session.

    Returns:
      as of `number_turns`.
    """
    digest = files.sha256(name.encode(), digits=16)
    rng = np.random.default_rng((seed, int(digest, 16)))
    count = int(rng.integers(turns[0], turns[1] + 1))
    drawn = [
        pool.edits[scope][i]
        for scope, needed in zip(pool.edits, _edits_of(count), strict=True)
        for i in rng.permutation(len(pool.edits[scope]))[:needed]
    ]
    edits = iter([drawn[i] for i in rng.permutation(len(drawn))])
    places = _places(rng, count)
    return [
        _draw_return(rng, pool, turn) if turn in places else next(edits)
        for turn in range(1, count + 1)
    ]


def _returns_of(count: int) -> int:
    return round(RETURN_SHARE * count)


def _edits_of(count: int) -> tuple[int, int]:
    """How many local and global edits."""
    edits = count - _returns_of(count)
    of_all = round(GLOBAL_SHARE * edits)
    return edits - of_all, of_all


def _places(rng: np.random.Generator, count: int) -> set[int]:
    """The turns that are returns: every choice without neighbours equally likely."""
    returns = _returns_of(count)
    free = count - FIRST_RETURN + 1 - max(returns - 1, 0)
    chosen = np.sort(rng.permutation(free)[:returns])
    return set((FIRST_RETURN + chosen + np.arange(returns)).tolist())


def _draw_return(rng: np.random.Generator, pool: Pool, turn: int) -> Instruction:
    entry = pool.returns[rng.integers(len(pool.returns))]
    if entry.returns_to == UNDO:
        return dataclasses.replace(entry, returns_to=turn - 2)
    if entry.returns_to == ANY:
        target = int(rng.integers(1, turn - 1))  # the one before has the present image
        texts = {
            language: text.replace(_TURN, str(target))
            for language, text in entry.texts.items()
        }
        return dataclasses.replace(entry, texts=texts, returns_to=target)
    return entry


def _check_entry(entry: Instruction, name: str) -> None:
    if entry.returns_to not in (None, 0, UNDO, ANY):
        raise UserError(
            f"{name} returns to turn {entry.returns_to}: a pool's returns are [undo], "
            "[return 0] and [return any]"
        )
    if entry.returns_to is None and entry.scope is None:
        raise UserError(f"{name} is neither [local] nor [global] nor a return")
    for text in entry.texts.values():
        if (_TURN in text) != (entry.returns_to == ANY):
            raise UserError(
                f"{name}: {text!r}: '{_TURN}' stands in the text of every [return any] "
                "and in no other"
            )
