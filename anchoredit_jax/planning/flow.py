"""Where the values of a program come from, and how often its loops run."""

import dataclasses
import functools
import re

from anchoredit_jax.planning.hlo import Instruction, Module

# They hand on their first operand's value. Conversions do so for loop counters.
_SAME_VALUE = (
    "bitcast", "convert", "copy", "copy-done", "copy-start", "get-tuple-element",
    "opt-barrier", "optimization-barrier", "reshape",
)  # fmt: skip
# Parts or repetitions of their first operand.
_TAKEN_FROM = ("broadcast", "dynamic-slice", "gather", "slice", "transpose")
_FLIPPED = {"LT": "GT", "LE": "GE", "GT": "LT", "GE": "LE", "NE": "NE"}


@dataclasses.dataclass(frozen=True)
class Value:
    """Part of what an instruction gives.

    Attributes:
      computation: name of the instruction's computation.
      instruction: where the value is made, as far as that is known.
      path: which element, where the instruction gives a tuple.
    """

    computation: str
    instruction: Instruction
    path: tuple[int, ...] = ()


class Flow:
    """Follows values backwards through copies, tuples, calls and loops."""

    def __init__(self, module: Module):
        self._module = module
        self._callers = _callers(module)
        self._unchanged = functools.cache(self._find_unchanged)

    def source(
        self,
        computation: str,
        name: str,
        path: tuple[int, ...] = (),
        within: str | None = None,
    ) -> Value:
        """What makes the value of an instruction, or of an element of its tuple.

        Args:
          within: a computation whose parameters are not followed to its callers.
        """
        while True:
            instruction = self._module[computation][name]
            here = Value(computation, instruction, path)
            if instruction.opcode == "get-tuple-element":
                path = (int(instruction.find(r"\bindex=(\d+)") or 0), *path)
            following = self._before(here, path, within)
            if following is None:
                return here
            computation, name, path = following

    def literal(self, computation: str, name: str) -> str | None:
        """The text of the constant that a value is, or is taken out of or repeats; else
        None."""
        source = self.source(computation, name)
        while source.instruction.opcode in _TAKEN_FROM:
            whole = source.instruction.operands[0]
            source = self.source(source.computation, whole)
        constant = source.instruction.opcode == "constant"
        return source.instruction.literal if constant else None

    def trip_count(self, computation: str, loop: Instruction) -> int | None:
        """How often a while loop runs its body, None where the program does not say."""
        known = loop.find(r'"known_trip_count":\{"n":"(\d+)"')
        if known is not None:
            return int(known)
        (condition,), (body,) = loop.called("condition"), loop.called("body")
        test = self.source(condition, self._module[condition].root)
        if test.instruction.opcode != "compare":
            return None
        direction = test.instruction.find(r"\bdirection=(\w+)")
        counter, bound = (
            self.source(test.computation, name) for name in test.instruction.operands
        )
        if _integer(counter) is not None:
            counter, bound = bound, counter
            direction = _FLIPPED.get(direction)
        if counter.computation != condition or _integer(bound) is None:
            return None
        start = _integer(self.source(computation, loop.operands[0], counter.path))
        step = self._step(body, counter.path)
        if start is None or not step:
            return None
        return _trips(start, _integer(bound), step, direction)

    def _before(
        self, value: Value, path: tuple[int, ...], within: str | None
    ) -> tuple[str, str, tuple[int, ...]] | None:
        instruction = value.instruction
        if instruction.opcode in _SAME_VALUE:
            return value.computation, instruction.operands[0], path
        if instruction.opcode == "tuple" and path:
            return value.computation, instruction.operands[path[0]], path[1:]
        if instruction.opcode in ("fusion", "call"):
            (called,) = instruction.called("calls", "to_apply")
            return called, self._module[called].root, path
        if instruction.opcode == "while" and self._unchanged(instruction, path):
            return value.computation, instruction.operands[0], path
        if instruction.opcode == "parameter" and value.computation != within:
            return self._argument(value)
        return None

    def _argument(self, value: Value) -> tuple[str, str, tuple[int, ...]] | None:
        """The caller's operand behind a parameter."""
        if value.computation not in self._callers:
            return None
        outside, caller, branch = self._callers[value.computation]
        number = int(value.instruction.literal)
        if caller.opcode in ("fusion", "call"):
            return outside, caller.operands[number], value.path
        if caller.opcode == "conditional":
            return outside, caller.operands[branch + 1], value.path
        if caller.opcode == "while" and self._unchanged(caller, value.path):
            return outside, caller.operands[0], value.path
        return None

    def _find_unchanged(self, loop: Instruction, path: tuple[int, ...]) -> bool:
        """Whether the body hands an element of the loop's tuple on as it is."""
        (body,) = loop.called("body")
        source = self.source(body, self._module[body].root, path, within=body)
        same = source.computation == body and source.path == path
        return same and source.instruction.opcode == "parameter" and bool(path)

    def _step(self, body: str, path: tuple[int, ...]) -> int | None:
        """What the body adds to an element of the loop's tuple."""
        update = self.source(body, self._module[body].root, path, within=body)
        if update.instruction.opcode not in ("add", "subtract"):
            return None
        left, right = (
            self.source(update.computation, name)
            for name in update.instruction.operands
        )

        def is_counter(term: Value) -> bool:
            at = (term.computation, term.instruction.opcode, term.path)
            return at == (body, "parameter", path)

        if is_counter(left):
            step = _integer(right)
            subtracts = update.instruction.opcode == "subtract"
            return -step if subtracts and step is not None else step
        adds = update.instruction.opcode == "add"
        return _integer(left) if adds and is_counter(right) else None


def _callers(module: Module) -> dict[str, tuple[str, Instruction, int]]:
    """Who calls a computation, and as which of its computations, if only one does."""
    callers: dict[str, list[tuple[str, Instruction, int]]] = {}
    for computation in module.computations.values():
        for instruction in computation.instructions.values():
            called = branches(instruction) or instruction.called(
                "calls", "to_apply", "condition", "body"
            )
            for number, name in enumerate(called):
                call = (computation.name, instruction, number)
                callers.setdefault(name, []).append(call)
    return {name: calls[0] for name, calls in callers.items() if len(calls) == 1}


def branches(conditional: Instruction) -> tuple[str, ...]:
    """Computations of a conditional, in the order of its operands; () for others."""
    return conditional.called(
        "branch_computations", "true_computation", "false_computation"
    )


def _integer(value: Value) -> int | None:
    """The constant that a value is, None for any other value."""
    literal = value.instruction.literal
    if value.instruction.opcode != "constant" or not re.fullmatch(r"-?\d+", literal):
        return None
    return int(literal)


def _trips(start: int, bound: int, step: int, direction: str | None) -> int | None:
    """Steps from start until the comparison with bound fails, None if it never does."""
    distance = bound - start
    if direction in ("LE", "GE"):
        distance += 1 if direction == "LE" else -1
    upwards = {"LT": True, "LE": True, "GT": False, "GE": False, "NE": step > 0}
    if direction not in upwards or upwards[direction] != (step > 0):
        return None
    return max(0, -(-distance // step))
