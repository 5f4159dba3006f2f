"""The text of a compiled XLA program (HLO) as computations of instructions."""

import dataclasses
import functools
import math
import re

from anchoredit_jax.errors import UserError

HBM, VMEM, HOST = 0, 1, 5  # memory spaces, `S(n)` in a layout; none means HBM

_COMMENT = re.compile(r"/\*.*?\*/")
_HEADER = re.compile(r"(ENTRY\s+)?%?([\w.-]+)\s*(?:\(.*\)\s*->\s.*)?\{\s*$")
_END = re.compile(r'\}(, execution_thread="\w+")?\s*$')
_INSTRUCTION = re.compile(r"\s+(ROOT\s+)?%?([\w.-]+) = ")
_OPCODE = re.compile(r"\s*([\w-]+)\(")
_ARRAY = re.compile(r"([a-z]\w*)\[([^\]]*)\](?:\{([^{}]*)\})?")
_CALLED = re.compile(
    r"\b(calls|to_apply|condition|body|true_computation|false_computation"
    r"|branch_computations)=(\{[^{}]*\}|%?[\w.-]+)"
)


@dataclasses.dataclass(frozen=True)
class Array:
    """An array as the text of a program describes it.

    Attributes:
      dtype: as XLA writes it ("bf16", "pred", "token").
      dims: sizes.
      minor_to_major: dimensions from the fastest varying one on.
      tile: the first tile of the layout, () for none.
      space: memory space.
      packed_bits: bits of an element where they are packed below a byte, else 0.
    """

    dtype: str
    dims: tuple[int, ...]
    minor_to_major: tuple[int, ...] = ()
    tile: tuple[int, ...] = ()
    space: int = HBM
    packed_bits: int = 0

    @property
    def elements(self) -> int:
        """Number of elements, without padding."""
        return math.prod(self.dims)

    @property
    def bits(self) -> int:
        """Bits that one element takes in memory."""
        if self.packed_bits:
            return self.packed_bits
        width = re.search(r"\d+", self.dtype)
        if width is None:
            return 8 if self.dtype == "pred" else 0  # tokens and opaque values
        return -(-int(width.group()) // 8) * 8

    @property
    def size(self) -> int:
        """Bytes of the elements alone."""
        return -(-self.elements * self.bits // 8)

    @property
    def nbytes(self) -> int:
        """Bytes in memory: whole tiles."""
        order = self.minor_to_major or tuple(reversed(range(len(self.dims))))
        sizes = [self.dims[axis] for axis in order]
        for position, tile in enumerate(reversed(self.tile)):
            if position < len(sizes):
                sizes[position] = -(-sizes[position] // tile) * tile
            else:
                sizes.append(tile)
        return -(-math.prod(sizes) * self.bits // 8)


Shape = Array | tuple["Shape", ...]


@dataclasses.dataclass(frozen=True)
class Instruction:
    """An instruction of a computation.

    Attributes:
      name: without the percent sign.
      opcode: "fusion", "all-gather-start", ...
      shape: an array, or a tuple of shapes.
      operands: names of instructions of the same computation.
      literal: what stands in the parentheses of a constant or a parameter.
      attributes: the rest of its text, as it is.
    """

    name: str
    opcode: str
    shape: Shape
    operands: tuple[str, ...]
    literal: str
    attributes: str

    @property
    def op_name(self) -> str:
        """The name that JAX gave the operation; "" for one of the compiler's own."""
        return self.find(r'\bop_name="((?:[^"\\]|\\.)*)"') or ""

    @property
    def outputs(self) -> tuple[Array, ...]:
        """The arrays of the shape, in order."""
        return leaves(self.shape)

    def find(self, pattern: str) -> str | None:
        """The first group of `pattern` in the attributes, None where it is not."""
        match = re.search(pattern, self.attributes)
        return match.group(1) if match else None

    def called(self, *keys: str) -> tuple[str, ...]:
        """Names of the computations under `keys` ("calls", "body", ...), in order."""
        names = []
        for key, value in _CALLED.findall(self.attributes):
            if key in keys:
                names += re.findall(r"[\w.-]+", value)
        return tuple(names)


@dataclasses.dataclass(frozen=True)
class Computation:
    """Instructions by name, in order, and the name of the one that is returned."""

    name: str
    instructions: dict[str, Instruction]
    root: str

    def __getitem__(self, name: str) -> Instruction:
        return self.instructions[name]

    @functools.cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """Who reads each instruction; once each."""
        users: dict[str, list[Instruction]] = {name: [] for name in self.instructions}
        for instruction in self.instructions.values():
            for name in dict.fromkeys(instruction.operands):
                users[name].append(instruction)
        return users

    @functools.cached_property
    def parameters(self) -> dict[int, Instruction]:
        """The parameters of the computation, by number."""
        found = self.instructions.values()
        return {int(i.literal): i for i in found if i.opcode == "parameter"}


@dataclasses.dataclass(frozen=True)
class Module:
    """A compiled program: its computations by name.

    Attributes:
      entry: name of the one that runs.
      devices: how many run it together.
    """

    computations: dict[str, Computation]
    entry: str
    devices: int

    def __getitem__(self, name: str) -> Computation:
        return self.computations[name]


def parse_module(text: str) -> Module:
    """Read what `compiled.as_text()` gives of a program.

    Raises:
      UserError: no entry computation, or an instruction that is not understood.
    """
    computations, entry, name, lines = {}, "", None, []
    for line in text.splitlines():
        if name is None:
            header = None if line.startswith("HloModule") else _HEADER.match(line)
            if header:
                name, lines = header.group(2), []
                entry = name if header.group(1) else entry
        elif _END.match(line):
            computations[name] = _computation(name, lines)
            name = None
        elif _INSTRUCTION.match(line) or not lines:
            lines.append(line)
        else:
            lines[-1] += "\n" + line  # a line break inside of an attribute
    if not entry:
        raise UserError("program text: expected HLO with an ENTRY computation")
    header = re.search(r"^HloModule.*", text, re.MULTILINE)
    counts = re.findall(
        r"\b(?:num_partitions|replica_count)=(\d+)", header.group() if header else ""
    )
    return Module(computations, entry, math.prod(map(int, counts)))


def leaves(shape: Shape) -> tuple[Array, ...]:
    """The arrays of a shape, in order."""
    if isinstance(shape, Array):
        return (shape,)
    return tuple(array for part in shape for array in leaves(part))


def parse_shape(text: str) -> Shape:
    """`bf16[8,128]{1,0:T(8,128)S(1)}`, or a tuple of such in parentheses."""
    shape, _ = _shape(_COMMENT.sub("", text), 0)
    return shape


def _computation(name: str, lines: list[str]) -> Computation:
    instructions, root = {}, ""
    for line in lines:
        instruction = _instruction(line)
        instructions[instruction.name] = instruction
        if _INSTRUCTION.match(line).group(1):
            root = instruction.name
    return Computation(name, instructions, root or next(reversed(instructions)))


def _instruction(line: str) -> Instruction:
    line = _COMMENT.sub("", line)
    start = _INSTRUCTION.match(line)
    if start is None:
        raise UserError(f"program text: expected an instruction, given {line[:200]!r}")
    shape, end = _shape(line, start.end())
    opcode = _OPCODE.match(line, end)
    if opcode is None:
        raise UserError(f"program text: expected an operation in {line[:200]!r}")
    close = _closing(line, opcode.end() - 1)
    inner = line[opcode.end() : close]
    leaf = opcode.group(1) in ("constant", "parameter")
    # Operands may be printed with their shapes, or without the percent sign.
    names = re.findall(r"%([\w.-]+)", inner) or re.findall(r"[\w.-]+", inner)
    return Instruction(
        name=start.group(2),
        opcode=opcode.group(1),
        shape=shape,
        operands=() if leaf else tuple(names),
        literal=inner.strip() if leaf else "",
        attributes=line[close + 1 :],
    )


def _closing(line: str, start: int) -> int:
    """Where the parenthesis that opens at `start` closes."""
    depth = 0
    for match in re.compile(r"[()]").finditer(line, start):
        depth += 1 if match.group() == "(" else -1
        if depth == 0:
            return match.start()
    raise UserError(f"program text: unbalanced parentheses in {line[:200]!r}")


def _shape(text: str, at: int) -> tuple[Shape, int]:
    """The shape that begins at `at`, and where it ends."""
    if text[at] != "(":
        match = _ARRAY.match(text, at)
        if match is None:
            raise UserError(f"program text: expected a shape, given {text[at:][:80]!r}")
        return _array(match.group()), match.end()
    parts, at = [], at + 1
    while text[at] != ")":
        if text[at] in ", ":
            at += 1
            continue
        part, at = _shape(text, at)
        parts.append(part)
    return tuple(parts), at + 1


@functools.cache
def _array(text: str) -> Array:
    dtype, dims, layout = _ARRAY.match(text).groups()
    order, _, rest = (layout or "").partition(":")
    tile = re.search(r"T\(([\d,]+)\)", rest)
    space = re.search(r"S\((\d+)\)", rest)
    bits = re.search(r"E\((\d+)\)", rest)
    return Array(
        dtype=dtype,
        dims=integers(dims.replace("<=", "")),
        minor_to_major=integers(order),
        tile=integers(tile.group(1)) if tile else (),
        space=int(space.group(1)) if space else HBM,
        packed_bits=int(bits.group(1)) if bits else 0,
    )


def integers(text: str) -> tuple[int, ...]:
    """All numbers in a text."""
    return tuple(int(number) for number in re.findall(r"\d+", text))
