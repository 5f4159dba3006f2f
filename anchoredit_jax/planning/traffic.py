"""Memory traffic of one instruction.

As in XLA's HloCostAnalysis: a fusion reads its operands and writes its outputs, its
insides are free; a slice reads what it gives; an update in place reads and writes the
update; arrays take whole tiles. Unlike there, an asynchronous operation is counted
once, a fusion reads no operand more than once, a fused gather or scatter moves its rows
alone, and scalars are not counted.
"""

import re

from anchoredit_jax.planning.collectives import is_continued
from anchoredit_jax.planning.hlo import Array, Computation, Instruction, Module, leaves

# They move nothing, or what they call does.
_FREE = (
    "add-dependency", "after-all", "async-start", "async-update", "bitcast", "call",
    "call-start", "conditional", "constant", "domain", "get-tuple-element",
    "opt-barrier", "optimization-barrier", "parameter", "tuple", "while",
)  # fmt: skip
# A slice reads what it gives; an update writes a part of its first operand, in place.
_SLICES = ("slice", "dynamic-slice", "gather")
_UPDATES = ("dynamic-update-slice", "scatter")


def memory_traffic(
    module: Module, computation: Computation, instruction: Instruction
) -> dict[int, int]:
    """Bytes that an instruction reads and writes, by memory space."""
    traffic: dict[int, int] = {}
    for array, count in _accesses(module, computation, instruction):
        if array.dims:
            traffic[array.space] = traffic.get(array.space, 0) + count
    return traffic


def _accesses(
    module: Module, computation: Computation, instruction: Instruction
) -> list[tuple[Array, int]]:
    opcode = instruction.opcode.removesuffix("-start")
    if instruction.opcode in _FREE or opcode.endswith("-done"):
        return []
    if 'custom_call_target="AllocateBuffer"' in instruction.attributes:
        return []
    if opcode == "fusion":
        return _fusion_accesses(module, computation, instruction)
    operands = [leaves(computation[name].shape) for name in instruction.operands]
    written = _started_outputs(instruction, opcode)
    if opcode in _SLICES or opcode in _UPDATES:
        return _part_accesses(opcode, operands, written[0])
    read = [array for arrays in operands for array in arrays]
    return [(array, array.nbytes) for array in (*read, *written)]


def _part_accesses(
    opcode: str, operands: list[tuple[Array, ...]], output: Array
) -> list[tuple[Array, int]]:
    """What a slice or an update moves: a part of a whole array, from or to another."""
    whole = operands[0][0]
    if opcode in ("slice", "dynamic-slice"):
        return [(whole, output.nbytes), (output, output.nbytes)]
    second = operands[1][0]
    if opcode == "dynamic-update-slice":
        return [(whole, second.nbytes), (second, second.nbytes)]
    indices = (second, second.nbytes)
    if opcode == "gather":
        return [(whole, output.nbytes), (output, output.nbytes), indices]
    update = operands[2][0]  # of a scatter, which reads the rows that it adds to
    return [(whole, 2 * update.nbytes), (update, update.nbytes), indices]


def _started_outputs(instruction: Instruction, opcode: str) -> tuple[Array, ...]:
    """What an instruction writes; a start also lists its operands and its state."""
    shape = instruction.shape
    if opcode == "send":
        return ()
    if opcode in ("copy", "recv") and not isinstance(shape, Array):
        return leaves(shape[0])
    started = instruction.opcode.endswith("-start")
    if started and opcode != "all-reduce" and not isinstance(shape, Array):
        return leaves(shape[1])
    return leaves(shape)


def _fusion_accesses(
    module: Module, computation: Computation, fusion: Instruction
) -> list[tuple[Array, int]]:
    (called,) = fusion.called("calls")
    inside = module[called]
    accesses = []
    for number, name in enumerate(fusion.operands):
        parameter = inside.parameters.get(number)
        if parameter is None:  # not printed where nothing reads it
            continue
        for array in leaves(computation[name].shape):
            whole = array.nbytes
            if isinstance(parameter.shape, Array):
                whole = min(whole, _bytes_read(module, inside, parameter, whole))
            accesses.append((array, whole))
    root = inside[inside.root]
    aliased = re.findall(r"\{(\d*)\}: \(\d+, \{\}", fusion.attributes)
    for number, array in enumerate(fusion.outputs):
        name = root.operands[number] if root.opcode == "tuple" else root.name
        if str(number) in aliased or "" in aliased:
            if _is_handed_on(inside, inside[name]):
                continue
        updated = _bytes_updated(module, inside, name)
        accesses.append((array, array.nbytes if updated is None else updated))
    return accesses


def _is_handed_on(inside: Computation, value: Instruction) -> bool:
    """Whether an output that shares an operand's memory is that operand, unchanged.

    Computation that overlaps with a collective is fused with a part of it: the
    collective's arrays go in and out of every such fusion.
    """
    return value.opcode in ("parameter", "custom-call") or is_continued(inside, value)


def _bytes_read(
    module: Module,
    inside: Computation,
    value: Instruction,
    whole: int,
    outside: tuple[tuple[Computation, Instruction], ...] = (),
) -> int:
    """The bytes of an operand that a fusion reads.

    They are more than `whole` where parts are read repeatedly.

    Args:
      outside: the fusions around `inside`, the innermost last.
    """
    if value.name == inside.root:  # a view: whoever reads the inner fusion reads it
        if not outside:
            return whole
        *outside, (inside, value) = outside
        return _bytes_read(module, inside, value, whole, tuple(outside))
    total = 0
    for user in inside.users[value.name]:
        first = user.operands[0] == value.name
        if user.opcode == "tuple" or is_continued(inside, user):
            continue  # handed on
        elif user.opcode == "bitcast":
            total += _bytes_read(module, inside, user, whole, outside)
        elif user.opcode == "fusion":
            (called,) = user.called("calls")
            nested = (*outside, (inside, user))
            for number, name in enumerate(user.operands):
                if name == value.name:
                    parameter = module[called].parameters.get(number)
                    if parameter is not None:
                        total += _bytes_read(
                            module, module[called], parameter, whole, nested
                        )
        elif user.opcode in _SLICES and first:
            total += user.shape.nbytes
        elif user.opcode == "dynamic-update-slice" and first:
            continue  # in place: written over unread
        elif user.opcode == "scatter" and first:
            total += inside[user.operands[-1]].shape.nbytes
        else:
            return whole
    return total


def _bytes_updated(module: Module, inside: Computation, name: str) -> int | None:
    """What a fusion's result writes, None where it is not an update in place."""
    instruction = inside[name]
    if instruction.opcode == "bitcast":
        return _bytes_updated(module, inside, instruction.operands[0])
    if instruction.opcode == "fusion":
        (called,) = instruction.called("calls")
        return _bytes_updated(module, module[called], module[called].root)
    if instruction.opcode not in _UPDATES:
        return None
    target = inside[instruction.operands[0]]
    while target.opcode == "bitcast":
        target = inside[target.operands[0]]
    before = 0
    if target.opcode != "parameter":  # updates of an update, or of a new array
        before = _bytes_updated(module, inside, target.name)
    update = inside[instruction.operands[2 if instruction.opcode == "scatter" else 1]]
    return None if before is None else before + update.shape.nbytes
