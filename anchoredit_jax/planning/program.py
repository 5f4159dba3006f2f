"""What a compiled TPU program does on a device in one run, read from its HLO text."""

import collections
import dataclasses
from collections.abc import Callable

from anchoredit_jax.errors import UserError
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
from anchoredit_jax.planning.overlap import is_hidden
from anchoredit_jax.planning.products import product_flops
from anchoredit_jax.planning.traffic import memory_traffic

_KERNEL = 'custom_call_target="tpu_custom_call"'


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A call of a Pallas kernel.

    Attributes:
      name: the instruction's name, which starts with the kernel's own.
      op_name: the name that JAX gave the call.
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


KernelCount = Callable[[Kernel], tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Program:
    """What a device does in one run, or in a part of one.

    Attributes:
      flops: operations of matrix products outside of kernels.
      kernel_flops: operations of Pallas kernels, by the caller's function.
      hbm_bytes: read and written in HBM; a copy counts twice.
      host_bytes: read from and written to host memory.
      collectives: every collective instruction.
    """

    flops: float = 0.0
    kernel_flops: float = 0.0
    hbm_bytes: float = 0.0
    host_bytes: float = 0.0
    collectives: tuple[Collective, ...] = ()

    def __add__(self, other: "Program") -> "Program":
        return Program(
            self.flops + other.flops,
            self.kernel_flops + other.kernel_flops,
            self.hbm_bytes + other.hbm_bytes,
            self.host_bytes + other.host_bytes,
            self.collectives + other.collectives,
        )

    def __mul__(self, times: int) -> "Program":
        return Program(
            self.flops * times,
            self.kernel_flops * times,
            self.hbm_bytes * times,
            self.host_bytes * times,
            tuple(
                dataclasses.replace(each, executions=each.executions * times)
                for each in self.collectives
            ),
        )

    @property
    def all_flops(self) -> float:
        """Of products inside and outside of kernels."""
        return self.flops + self.kernel_flops

    @property
    def collective_bytes(self) -> float:
        """Bytes sent to other devices of the slice."""
        return sum(each.ici_bytes for each in self.collectives)

    @property
    def hidden_bytes(self) -> float:
        """The part of `collective_bytes` that moves while products are computed."""
        return sum(each.ici_bytes for each in self.collectives if each.hidden)

    @property
    def dcn_bytes(self) -> float:
        """Bytes sent to other slices."""
        return sum(each.dcn_bytes for each in self.collectives)

    @property
    def collective_bytes_by_kind(self) -> dict[str, float]:
        """`collective_bytes` of each kind, that of the largest collective first."""
        totals: dict[str, float] = collections.defaultdict(float)
        for each in sorted(
            self.collectives, key=lambda c: -c.executions * c.bytes_sent
        ):
            totals[each.kind] += each.ici_bytes
        return dict(totals)


def read_program(
    text: str,
    *,
    kernels: KernelCount | None = None,
    loops: Callable[[str], int | None] = lambda name: None,
) -> Program:
    """Count a program's work, with loops multiplied out.

    Of the branches of a conditional the most expensive one is counted.

    Args:
      text: `compiled.as_text()`.
      kernels: (operations, bytes of HBM traffic) of a kernel, of which the text does
        not tell; without it no operations, and each operand and output once.
      loops: rounds of a loop by op_name, where the program does not fix them; None of
        one that is not known.

    Raises:
      UserError: text that is not understood, or a loop of unknown length.
    """
    return _Counter(text, kernels, loops).count()


class _Counter:
    """Counts computations, each once for every way in which it is called."""

    def __init__(
        self,
        text: str,
        kernels: KernelCount | None,
        loops: Callable[[str], int | None],
    ):
        self._module = parse_module(text)
        self._flow = Flow(self._module)
        self._kernels = kernels
        self._loops = loops

    def count(self, name: str | None = None, fused: bool = False) -> Program:
        """The work of one execution of a computation.

        Args:
          name: of the computation; by default the one that runs.
          fused: it is a fusion's inside: what it computes does not pass through memory.
        """
        computation = self._module[name or self._module.entry]
        works = {
            each.name: self._own(computation, each, fused)
            + self._called(computation, each, fused)
            for each in computation.instructions.values()
        }
        if not fused:
            self._look_beside(computation, works)
        return sum(works.values(), Program())

    def _look_beside(self, computation: Computation, works: dict[str, Program]) -> None:
        """Mark the collectives that products of a scheduled computation hide."""
        flops = {name: work.all_flops for name, work in works.items()}
        for name, work in works.items():
            started = work.collectives and is_hidden(
                self._module, computation, computation[name], flops
            )
            if started:
                hidden = (dataclasses.replace(c, hidden=True) for c in work.collectives)
                works[name] = dataclasses.replace(work, collectives=tuple(hidden))

    def _own(
        self, computation: Computation, instruction: Instruction, fused: bool
    ) -> Program:
        """The work of an instruction itself."""
        work = Program(flops=product_flops(computation, instruction))
        if not fused:
            bytes_of = memory_traffic(self._module, computation, instruction)
            work += Program(
                hbm_bytes=bytes_of.get(HBM, 0), host_bytes=bytes_of.get(HOST, 0)
            )
        is_kernel = instruction.opcode == "custom-call" and (
            _KERNEL in instruction.attributes
        )
        if is_kernel and self._kernels is not None:
            flops, moved = self._kernels(self._kernel(computation, instruction))
            work = dataclasses.replace(work, kernel_flops=flops, hbm_bytes=moved)
        collective = find_collective(self._module, computation, instruction)
        return work + Program(collectives=(collective,)) if collective else work

    def _called(
        self, computation: Computation, instruction: Instruction, fused: bool
    ) -> Program:
        """The work of the computations that an instruction calls."""
        opcode = instruction.opcode
        if opcode == "while":
            (body,) = instruction.called("body")
            return self.count(body) * self._rounds(computation, instruction)
        if opcode == "conditional":
            counted = [self.count(name) for name in branches(instruction)]
            return max(counted, key=lambda branch: (branch.all_flops, branch.hbm_bytes))
        if opcode in ("fusion", "call", "async-start", "call-start"):
            called = instruction.called("calls", "to_apply")
            inside = fused or opcode == "fusion"
            return sum((self.count(name, inside) for name in called), Program())
        return Program()

    def _kernel(self, computation: Computation, call: Instruction) -> Kernel:
        operands = [computation[name] for name in call.operands]
        return Kernel(
            name=call.name,
            op_name=call.op_name,
            operands=tuple(array for each in operands for array in leaves(each.shape)),
            outputs=call.outputs,
            constants=tuple(
                self._flow.literal(computation.name, name) for name in call.operands
            ),
            attributes=call.attributes,
        )

    def _rounds(self, computation: Computation, loop: Instruction) -> int:
        rounds = self._flow.trip_count(computation.name, loop)
        if rounds is not None:
            return rounds
        # The compiler leaves some loops without a name; their condition keeps one.
        (condition,) = loop.called("condition")
        test = self._module[condition]
        name = loop.op_name or test[test.root].op_name or loop.name
        rounds = self._loops(name)
        if rounds is None:
            raise UserError(
                f"the program has a loop of unknown length ({name}): its work cannot "
                "be counted"
            )
        return rounds
