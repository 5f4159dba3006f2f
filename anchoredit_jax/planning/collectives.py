"""How many devices take part in a collective, and how much a device sends for it."""

import dataclasses
import math
import re

from anchoredit_jax.errors import UserError
from anchoredit_jax.planning.hlo import Computation, Instruction, Module, leaves

# What a transfer between slices is called, and the collective that it does.
_TRANSFERS = {
    "ALL_GATHER": "all-gather",
    "ALL_REDUCE": "all-reduce",
    "REDUCE_SCATTER": "reduce-scatter",
    "ALL_TO_ALL": "all-to-all",
    "ONE_TO_ONE": "collective-permute",
}
KINDS = tuple(_TRANSFERS.values())


@dataclasses.dataclass(frozen=True)
class Collective:
    """A collective instruction, and what it sends.

    Attributes:
      kind: one of `KINDS`.
      group_size: devices that take part together.
      bytes_sent: what a device sends in one execution.
      between_slices: whether they go over the data-centre network; the compiler splits
        what does from what stays in a slice.
      executions: how often it runs in one run of the program.
      hidden: whether products run meanwhile, see `overlap.is_hidden`.
    """

    kind: str
    group_size: int
    bytes_sent: float
    between_slices: bool = False
    executions: int = 1
    hidden: bool = False

    @property
    def ici_bytes(self) -> float:
        """Bytes that a device sends inside of its slice, in one run."""
        return 0.0 if self.between_slices else self.executions * self.bytes_sent

    @property
    def dcn_bytes(self) -> float:
        """Bytes that a device sends to other slices, in one run."""
        return self.executions * self.bytes_sent if self.between_slices else 0.0


def find_collective(
    module: Module, computation: Computation, instruction: Instruction
) -> Collective | None:
    """The collective that an instruction starts, None for other instructions.

    Raises:
      UserError: groups in a form that is not understood.
    """
    if instruction.opcode == "send" and "_xla_megascale" in instruction.attributes:
        return _between_slices(computation, instruction)
    kind = instruction.opcode.removesuffix("-start")
    if kind not in KINDS or is_continued(computation, instruction):
        return None
    size = sum(
        array.size
        for name in instruction.operands
        for array in leaves(computation[name].shape)
    )
    if kind == "collective-permute":
        return _permute(instruction, size)
    if kind == "all-reduce" and _keeps_a_part(module, computation, instruction):
        kind = "reduce-scatter"
    members = group_size(instruction.attributes, module.devices)
    return Collective(kind, members, _bytes_sent(kind, size, members))


def is_continued(computation: Computation, instruction: Instruction) -> bool:
    """Whether an instruction is a later part of a collective that another one starts.

    A collective that overlaps with computation is written once in the fusion that
    starts it, once in each that goes on with it, and once in the one that ends it.
    """
    if 'custom_call_target="AsyncCollectiveDone"' in instruction.attributes:
        return True
    starts = 'custom_call_target="AsyncCollectiveStart"'
    return (
        "chain_id=" in instruction.attributes
        and starts not in computation[computation.root].attributes
    )


def group_size(attributes: str, devices: int) -> int:
    """How many devices take part together, from an instruction's attributes.

    Understands lists, `[4,2]<=[2,4]T(1,0)` (groups, devices of each), and mesh axes,
    whole or in part: `mesh['a'=2,'b'=4] {'b':(2)2}` (after 2 of 4 outer positions, 2 of
    them).

    Args:
      devices: that run the program, for an empty list.

    Raises:
      UserError: another form, or none.
    """
    listed = re.search(
        r"\breplica_groups=\{(?:\{([\d,]*)\}(?:,\{[\d,]*\})*)?\}", attributes
    )
    if listed:
        return len(listed[1].split(",")) if listed[1] else devices
    iota = re.search(r"\breplica_groups=\[\d+,(\d+)\]<=", attributes)
    if iota:
        return int(iota[1])
    mesh = re.search(
        r"\breplica_groups=mesh\[([^\]]*)\](?:, device_ids=\([^{]*\))? \{([^}]*)\}",
        attributes,
    )
    if mesh:
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", mesh[1]))
        grouped = re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", mesh[2])
        return math.prod(int(part or sizes[axis]) for axis, part in grouped)
    raise UserError(f"program text: expected replica groups in {attributes[:200]!r}")


def _bytes_sent(kind: str, size: int, members: int) -> float:
    """The bytes that each of `members` in a ring sends of operands of `size` bytes."""
    others = members - 1
    if kind == "all-gather":
        return float(size * others)
    if kind == "all-reduce":
        return 2 * size * others / members
    return size * others / members


def _permute(instruction: Instruction, size: int) -> Collective:
    listed = instruction.find(r"\bsource_target_pairs=\{((?:\{\d+,\d+\},?)*)\}") or ""
    pairs = re.findall(r"(\d+),(\d+)", listed)
    moves = any(source != target for source, target in pairs)
    members = len({device for pair in pairs for device in pair})
    return Collective("collective-permute", members, float(size) if moves else 0.0)


def _between_slices(computation: Computation, instruction: Instruction) -> Collective:
    """A transfer over the data-centre network, which the compiler has split off."""
    transfer = instruction.find(r'_xla_megascale_transfer_type="(\w+)"')
    target = instruction.find(r"_xla_megascale_target=(\"[^\"]*\"|\{\{.*?\}\})")
    if transfer not in _TRANSFERS or target is None:
        raise UserError(
            f"program text: expected a transfer between slices, one of "
            f"{', '.join(_TRANSFERS)}, given {instruction.attributes[:300]!r}"
        )
    size = computation[instruction.operands[0]].shape.size
    kind = _TRANSFERS[transfer]
    members, sent = 2, float(size)
    if kind != "collective-permute":
        # `"{1,2}x{0:3}"` (slices, devices of each) or a list of groups.
        group = re.search(r"\{([\d,:]+)\}", target).group(1)
        members = sum(
            int(last or first) - int(first) + 1
            for first, last in re.findall(r"(\d+)(?::(\d+))?", group)
        )
        sent = _bytes_sent(kind, size, members)
    return Collective(kind, members, sent, between_slices=True)


def _keeps_a_part(
    module: Module, computation: Computation, reduction: Instruction
) -> bool:
    """Whether a fusion sums and then gives a device its part alone.

    TPU's reduce-scatter is written so: an all-reduce with a dynamic slice at the root.
    """
    root = computation[computation.root]
    while root.opcode == "bitcast":
        root = computation[root.operands[0]]
    if computation.name == module.entry or root.opcode != "dynamic-slice":
        return False
    summed = computation[root.operands[0]]
    while summed.opcode == "bitcast":
        summed = computation[summed.operands[0]]
    return summed == reduction
