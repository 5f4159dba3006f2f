"""Who takes part in a collective, and how much a device sends for it."""

import dataclasses
import re
from collections.abc import Callable

import numpy as np

from anchoredit_jax.errors import UserError
from anchoredit_jax.planning.hlo import Computation, Instruction, Module, leaves

KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
)
_TRANSFERS = {
    "ALL_GATHER": "all-gather",
    "ALL_REDUCE": "all-reduce",
    "REDUCE_SCATTER": "reduce-scatter",
    "ALL_TO_ALL": "all-to-all",
    "ONE_TO_ONE": "collective-permute",
}
Groups = tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective instruction.

    Attributes:
      kind: one of `KINDS`.
      op_name: of the operation that it belongs to, "" where the compiler made it.
      group_size: devices that take part together.
      executions: in one run of the program.
      bytes_sent: by a device, in one execution.
      dcn_bytes: the part of them that leaves the device's slice.
    """

    kind: str
    op_name: str
    group_size: int
    executions: int
    bytes_sent: float
    dcn_bytes: float = 0.0

    @property
    def ici_bytes(self) -> float:
        """Bytes that a device sends inside of its slice, in one execution."""
        return self.bytes_sent - self.dcn_bytes


def find_collective(
    module: Module,
    computation: Computation,
    instruction: Instruction,
    slice_of: Callable[[int], int] | None,
) -> Collective | None:
    """The collective that an instruction starts, None for other instructions.

    Args:
      slice_of: slice of a device, by its number in the program; None for one slice.

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
    if kind == "all-reduce" and _keeps_a_part(module, computation, instruction):
        kind = "reduce-scatter"
    if kind == "collective-permute":
        return _permute(instruction, size, slice_of)
    groups = device_groups(instruction.attributes, module.devices)
    sent = _bytes_sent(kind, size, len(groups[0]))
    share = max(_share_between_slices(kind, group, slice_of) for group in groups)
    return Collective(kind, instruction.op_name, len(groups[0]), 1, sent, sent * share)


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


def device_groups(attributes: str, devices: int) -> Groups:
    """Who takes part together, from an instruction's attributes.

    Understands lists, `[4,2]<=[2,4]T(1,0)`, and mesh axes, whole or in part:
    `mesh['a'=2,'b'=4] {'b':(2)2}` (after 2 of 4 outer positions, 2 of them).

    Args:
      devices: that run the program, for an empty list.

    Raises:
      UserError: another form, or none.
    """
    listed = re.search(r"\breplica_groups=\{((?:\{[\d,]*\},?)*)\}", attributes)
    if listed:
        groups = re.findall(r"\{([\d,]*)\}", listed.group(1))
        if not any(groups):
            return (tuple(range(devices)),)
        return tuple(tuple(map(int, group.split(","))) for group in groups)
    iota = re.search(
        r"\breplica_groups=\[(\d+),(\d+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)", attributes
    )
    if iota:
        order = _iota(iota.group(3)).reshape(int(iota.group(1)), int(iota.group(2)))
        return tuple(map(tuple, order.tolist()))
    mesh = re.search(
        r"\breplica_groups=mesh\[([^\]]*)\](?:, device_ids=\(([^{]*)\))? \{([^}]*)\}",
        attributes,
    )
    if mesh:
        return _mesh_groups(*mesh.groups())
    raise UserError(f"program text: expected replica groups in {attributes[:200]!r}")


def _mesh_groups(mesh: str, ids: str | None, grouped: str) -> Groups:
    axes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh)}
    parts = {name: [] for name in axes}  # (outer positions, size) inside of the axis
    for name, outer, size in re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", grouped):
        parts[name].append((int(outer or 1), int(size or axes[name])))
    sizes, inside = [], []
    for name, total in axes.items():
        done = 1
        for outer, size in sorted(parts[name]):
            sizes += [outer // done, size]
            inside.append(len(sizes) - 1)
            done = outer * size
        sizes.append(total // done)
    if ids is None:
        order = np.arange(np.prod(list(axes.values()), dtype=int))
    elif "[" in ids:
        order = _iota(ids)
    else:
        order = np.array(ids.split(","), dtype=int)
    outside = [axis for axis in range(len(sizes)) if axis not in inside]
    order = order.reshape(sizes).transpose(outside + inside)
    members = int(np.prod([sizes[axis] for axis in inside], dtype=int))
    return tuple(map(tuple, order.reshape(-1, members).tolist()))


def _iota(text: str) -> np.ndarray:
    """`[2,4]T(1,0)`: the numbers from 0 on in that shape, transposed."""
    shape, _, axes = text.partition("T")
    sizes = [int(size) for size in re.findall(r"\d+", shape)]
    order = [int(axis) for axis in re.findall(r"\d+", axes)] or list(range(len(sizes)))
    return np.arange(np.prod(sizes)).reshape(sizes).transpose(order)


def _bytes_sent(kind: str, size: int, members: int) -> float:
    """By a device of a ring of `members`, whose operands take `size` bytes."""
    others = members - 1
    if kind == "all-gather":
        return float(size * others)
    if kind == "all-reduce":
        return 2 * size * others / members
    return size * others / members


def _share_between_slices(
    kind: str, group: tuple[int, ...], slice_of: Callable[[int], int] | None
) -> float:
    """Share of a group's traffic that leaves a slice, gathered slice by slice."""
    members = len(group)
    slices = len({slice_of(device) for device in group}) if slice_of else 1
    if members == 1 or slices == 1:
        return 0.0
    if kind == "all-to-all":
        return (members - members / slices) / (members - 1)
    return (slices - 1) / (members - 1)


def _permute(
    instruction: Instruction, size: int, slice_of: Callable[[int], int] | None
) -> Collective:
    listed = instruction.find(r"\bsource_target_pairs=\{((?:\{\d+,\d+\},?)*)\}") or ""
    pairs = [tuple(map(int, p)) for p in re.findall(r"(\d+),(\d+)", listed)]
    moves = [(source, target) for source, target in pairs if source != target]
    crosses = slice_of is not None and any(
        slice_of(source) != slice_of(target) for source, target in moves
    )
    sent = float(size) if moves else 0.0
    members = len({device for pair in pairs for device in pair})
    return Collective(
        "collective-permute",
        instruction.op_name,
        members,
        1,
        sent,
        sent if crosses else 0.0,
    )


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
    op_name = instruction.op_name or (
        instruction.find(r'_xla_host_transfer_rendezvous="([^"]*)"') or ""
    )
    return Collective(kind, op_name, members, 1, sent, sent)


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
