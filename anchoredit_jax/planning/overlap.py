"""Which collectives of a program run beside products, and which stand alone.

The text of a compiled program is its schedule: a device issues the instructions of a
computation in their order. A collective that is started, and ended further down, moves
its bytes while what stands between is computed. Three ways to write one are known:
`all-gather-start` and `-done` and the like, `async-start` or `call-start` around a
whole computation, and a chain of fusions, of which one starts the collective, others
compute beside it, and one ends it.

Hidden here means that some product stands between. Whether it takes as long as the
bytes do, and whether it hides another collective too, is not looked at.
"""

from collections.abc import Iterator, Mapping

from anchoredit_jax.planning.hlo import Computation, Instruction, Module

# They hand on what was started.
_HANDED_ON = ("async-update", "bitcast", "get-tuple-element", "opt-barrier")
_STARTS = 'custom_call_target="AsyncCollectiveStart"'
_ENDS = 'custom_call_target="AsyncCollectiveDone"'


def is_hidden(
    module: Module,
    computation: Computation,
    start: Instruction,
    flops: Mapping[str, float],
) -> bool:
    """Whether a product runs between the start of a collective and its end.

    One that ends in another computation, such as the next round of a loop, goes on to
    the end of its own. A collective that is one instruction stands alone.

    Args:
      computation: one that is scheduled, so no fusion's inside.
      start: an instruction of it that does, or starts, a collective.
      flops: operations of each instruction's products by its name, those of the
        computations that it calls too.
    """
    if _root_of_fusion(module, start, _STARTS):
        ends = _ends_of_chain(module, computation, start)
    elif start.opcode.endswith("-start") or start.opcode == "send":
        ends = _ends_of_start(computation, start)
    else:
        return False
    names = list(computation.instructions)
    first = names.index(start.name) + 1
    last = names.index(next(ends, names[-1]))
    return any(flops[name] > 0 for name in names[first : last + 1])


def _ends_of_start(computation: Computation, start: Instruction) -> Iterator[str]:
    """Names of the instructions that wait for one ending in `-start`."""
    handed_on = {start.name}
    for instruction in computation.instructions.values():
        if handed_on.isdisjoint(instruction.operands):
            continue
        if instruction.opcode.endswith("-done"):
            yield instruction.name
        elif instruction.opcode in _HANDED_ON:
            handed_on.add(instruction.name)


def _ends_of_chain(
    module: Module, computation: Computation, start: Instruction
) -> Iterator[str]:
    """Names of the fusions that end the collective which a fusion starts: parts of one
    collective have one channel."""
    channels = _channels(module, start)
    names = list(computation.instructions)
    for name in names[names.index(start.name) + 1 :]:
        instruction = computation[name]
        if _root_of_fusion(module, instruction, _ENDS):
            if channels & _channels(module, instruction):
                yield name


def _root_of_fusion(module: Module, instruction: Instruction, target: str) -> bool:
    """Whether a fusion gives what a custom call of this target does."""
    if instruction.opcode != "fusion":
        return False
    inside = module[instruction.called("calls")[0]]
    return target in inside[inside.root].attributes


def _channels(module: Module, fusion: Instruction) -> set[str]:
    """Numbers of the channels that a fusion's collectives use."""
    inside = module[fusion.called("calls")[0]]
    found = (i.find(r"\bchannel_id=(\d+)") for i in inside.instructions.values())
    return {channel for channel in found if channel}
