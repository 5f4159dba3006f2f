"""What a compiled TPU program does on a device in one run, read from its HLO text."""

import collections
import dataclasses
from collections.abc import Callable

from anchoredit_jax.planning.collectives import Collective, find_collective
from anchoredit_jax.planning.flow import Flow, branches
from anchoredit_jax.planning.hlo import (
    HBM,
    HOST,
    Array,
    Computation,
    Instruction,
    leaves,
    parse_module,
)
from anchoredit_jax.planning.products import product_flops
from anchoredit_jax.planning.traffic import memory_traffic

_KERNEL = 'custom_call_target="tpu_custom_call"'
TOP = 20


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A call of a Pallas kernel.

    Attributes:
      name: of the instruction, which starts with the kernel's own name.
      op_name: that JAX gave the call.
      operands, outputs: arrays.
      constants: for each operand the text of the constant that it is, or is a device's
        slice of, else None. It reads "{...}" for all but small constants, unless they
        were printed.
      attributes: raw text.
    """

    name: str
    op_name: str
    operands: tuple[Array, ...]
    outputs: tuple[Array, ...]
    constants: tuple[str | None, ...]
    attributes: str


@dataclasses.dataclass(frozen=True)
class Cost:
    """Work of one operation, or of several, in one run of the program.

    Attributes:
      flops: of matrix products.
      kernel_flops: of Pallas kernels.
      hbm_bytes: read and written.
      host_bytes: read from and written to host memory.
    """

    flops: float = 0.0
    kernel_flops: float = 0.0
    hbm_bytes: float = 0.0
    host_bytes: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        values = zip(self._values(), other._values(), strict=True)
        return Cost(*(mine + its for mine, its in values))

    def __mul__(self, times: int) -> "Cost":
        return Cost(*(value * times for value in self._values()))

    def _values(self) -> tuple[float, ...]:
        return self.flops, self.kernel_flops, self.hbm_bytes, self.host_bytes


@dataclasses.dataclass(frozen=True)
class Branch:
    """The branch of a conditional that was counted: the most expensive one."""

    op_name: str
    taken: int
    of: int


@dataclasses.dataclass(frozen=True)
class Program:
    """What a device does in one run.

    Attributes:
      flops: of matrix products outside of kernels.
      kernel_flops: of Pallas kernels, by the caller's function.
      hbm_bytes: read and written in HBM; a copy counts twice.
      host_bytes: moved from and to host memory.
      collectives: every collective instruction, those that send most first.
      collective_bytes: sent to other devices of the slice.
      dcn_bytes: sent to other slices.
      by_op: the largest movers and spenders by op_name, the largest movers first; work
        of no op_name stands under its opcode in parentheses.
      unknown_loops: op_names of loops of unknown length, counted as one round.
      unknown_kernels: op_names of kernels that no function counted.
      branches: of conditionals.
    """

    flops: float
    kernel_flops: float
    hbm_bytes: float
    host_bytes: float
    collectives: tuple[Collective, ...]
    collective_bytes: float
    dcn_bytes: float
    by_op: tuple[tuple[str, Cost], ...]
    unknown_loops: tuple[str, ...]
    unknown_kernels: tuple[str, ...]
    branches: tuple[Branch, ...]

    @property
    def collective_bytes_by_kind(self) -> dict[str, float]:
        """`collective_bytes` of each kind of collective."""
        totals: dict[str, float] = collections.defaultdict(float)
        for each in self.collectives:
            totals[each.kind] += each.executions * each.ici_bytes
        return dict(totals)


def read_program(
    text: str,
    *,
    kernel_flops: Callable[[Kernel], float] | None = None,
    kernel_bytes: Callable[[Kernel], float] | None = None,
    loops: Callable[[str], int] | None = None,
    slice_of: Callable[[int], int] | None = None,
) -> Program:
    """Count a program's work, with loops multiplied out.

    Args:
      text: `compiled.as_text()`.
      kernel_flops: operations of a kernel, of which the text does not tell.
      kernel_bytes: its HBM traffic; by default each operand and output once.
      loops: rounds of a loop by op_name, where the program does not fix them.
      slice_of: slice of a device, by its number in the program. Programs compiled for
        several slices need none: their transfers between slices are apart.

    Raises:
      UserError: text that is not understood.
    """
    counter = _Counter(text, kernel_flops, kernel_bytes, loops, slice_of)
    total = counter.count(counter.module.entry)
    everything = sum(total.by_op.values(), Cost())
    sent = [(each.executions, each) for each in total.collectives]
    return Program(
        **dataclasses.asdict(everything),
        collectives=tuple(
            sorted(total.collectives, key=lambda e: -e.executions * e.bytes_sent)
        ),
        collective_bytes=sum(times * each.ici_bytes for times, each in sent),
        dcn_bytes=sum(times * each.dcn_bytes for times, each in sent),
        by_op=_largest(total.by_op),
        unknown_loops=tuple(dict.fromkeys(total.unknown_loops)),
        unknown_kernels=tuple(dict.fromkeys(total.unknown_kernels)),
        branches=tuple(dict.fromkeys(total.branches)),
    )


@dataclasses.dataclass
class _Total:
    """The work of a computation."""

    by_op: dict[str, Cost] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(Cost)
    )
    collectives: list[Collective] = dataclasses.field(default_factory=list)
    unknown_loops: list[str] = dataclasses.field(default_factory=list)
    unknown_kernels: list[str] = dataclasses.field(default_factory=list)
    branches: list[Branch] = dataclasses.field(default_factory=list)

    def add(self, other: "_Total", times: int = 1) -> None:
        for name, cost in other.by_op.items():
            self.by_op[name] += cost * times
        self.collectives += [
            dataclasses.replace(each, executions=each.executions * times)
            for each in other.collectives
        ]
        self.unknown_loops += other.unknown_loops
        self.unknown_kernels += other.unknown_kernels
        self.branches += other.branches

    def expense(self) -> tuple[float, float]:
        total = sum(self.by_op.values(), Cost())
        return total.flops + total.kernel_flops, total.hbm_bytes


class _Counter:
    """Counts computations, each once for every way in which it is called."""

    def __init__(self, text, kernel_flops, kernel_bytes, loops, slice_of):
        self.module = parse_module(text)
        self._flow = Flow(self.module)
        self._kernel_flops = kernel_flops
        self._kernel_bytes = kernel_bytes
        self._loops = loops
        self._slice_of = slice_of

    def count(self, name: str, fusion: Instruction | None = None) -> _Total:
        """The work of one execution of a computation.

        Args:
          fusion: whose inside it is: what it computes does not pass through memory.
        """
        total = _Total()
        computation = self.module[name]
        for instruction in computation.instructions.values():
            self._add(total, computation, instruction, fusion)
        return total

    def _add(
        self,
        total: _Total,
        computation: Computation,
        instruction: Instruction,
        fusion: Instruction | None,
    ) -> None:
        op_name = instruction.op_name or (fusion.op_name if fusion else "")
        cost = Cost(flops=product_flops(computation, instruction))
        if fusion is None:
            traffic = memory_traffic(self.module, computation, instruction)
            cost += Cost(hbm_bytes=traffic.get(HBM, 0), host_bytes=traffic.get(HOST, 0))
        if instruction.opcode == "custom-call" and _KERNEL in instruction.attributes:
            cost = self._kernel(total, computation, instruction, cost)
        if cost != Cost():
            total.by_op[op_name or f"({instruction.opcode})"] += cost
        collective = find_collective(
            self.module, computation, instruction, self._slice_of
        )
        if collective is not None:
            named = collective.op_name or op_name
            total.collectives.append(dataclasses.replace(collective, op_name=named))
        if instruction.opcode == "while":
            (body,) = instruction.called("body")
            total.add(self.count(body), self._rounds(total, computation, instruction))
        elif instruction.opcode == "conditional":
            total.add(self._branch(total, instruction))
        elif instruction.opcode == "fusion":
            (called,) = instruction.called("calls")
            inner = instruction if instruction.op_name or not fusion else fusion
            total.add(self.count(called, inner))
        elif instruction.opcode in ("call", "async-start", "call-start"):
            for called in instruction.called("calls", "to_apply"):
                total.add(self.count(called, fusion))

    def _kernel(
        self,
        total: _Total,
        computation: Computation,
        instruction: Instruction,
        cost: Cost,
    ) -> Cost:
        kernel = Kernel(
            name=instruction.name,
            op_name=instruction.op_name,
            operands=tuple(
                array
                for name in instruction.operands
                for array in leaves(computation[name].shape)
            ),
            outputs=instruction.outputs,
            constants=tuple(
                self._flow.literal(computation.name, name)
                for name in instruction.operands
            ),
            attributes=instruction.attributes,
        )
        if self._kernel_flops is None:
            total.unknown_kernels.append(instruction.op_name or instruction.name)
        else:
            flops = float(self._kernel_flops(kernel))
            cost = dataclasses.replace(cost, kernel_flops=flops)
        if self._kernel_bytes is not None:
            moved = float(self._kernel_bytes(kernel))
            cost = dataclasses.replace(cost, hbm_bytes=moved)
        return cost

    def _rounds(
        self, total: _Total, computation: Computation, loop: Instruction
    ) -> int:
        rounds = self._flow.trip_count(computation.name, loop)
        if rounds is not None:
            return rounds
        # The compiler leaves some loops without a name; their condition keeps one.
        (condition,) = loop.called("condition")
        test = self.module[condition]
        name = loop.op_name or test[test.root].op_name or loop.name
        if self._loops is not None:
            return self._loops(name)
        total.unknown_loops.append(name)
        return 1

    def _branch(self, total: _Total, conditional: Instruction) -> _Total:
        counted = [self.count(name) for name in branches(conditional)]
        taken = max(range(len(counted)), key=lambda i: counted[i].expense())
        name = conditional.op_name or conditional.name
        total.branches.append(Branch(name, taken, len(counted)))
        return counted[taken]


def _largest(by_op: dict[str, Cost]) -> tuple[tuple[str, Cost], ...]:
    movers = sorted(by_op, key=lambda name: -by_op[name].hbm_bytes)
    spenders = sorted(
        by_op, key=lambda name: -by_op[name].flops - by_op[name].kernel_flops
    )
    kept = {*movers[:TOP], *spenders[:TOP]}
    return tuple((name, by_op[name]) for name in movers if name in kept)
