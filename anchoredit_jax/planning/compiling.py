"""The very programs of training and editing, compiled for devices that are not here."""

import dataclasses
import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxlib import _hlo

from anchoredit_jax import memory as memories
from anchoredit_jax.convert.transformer_names import tree_shapes
from anchoredit_jax.parallel import batch_sharding, state_shardings
from anchoredit_jax.planning.shapes import batch_shapes
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.session.programs import make_programs
from anchoredit_jax.stages.table import STAGES

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A compiled program, and what a device holds while it runs.

    Attributes:
      text: HLO with all constants; "" where the program did not fit.
      arguments: GiB by what they are: "parameters", "optimizer", "average", ...
      temporaries: GiB of everything in between, and of outputs that are not arguments.
      code: GiB of the program itself.
      missing: GiB that the device lacks; 0 where the program fits.
      seconds: how long compiling took.
    """

    text: str
    arguments: dict[str, float]
    temporaries: float
    code: float
    missing: float
    seconds: float

    @property
    def peak(self) -> float:
        """GiB that the program needs."""
        return sum(self.arguments.values()) + self.temporaries + self.code


_FIELDS = {
    "params": "parameters",
    "opt_state": "optimizer",
    "ema": "average",
    "teacher": "teacher",
    "critic": "critic",
    "critic_opt_state": "optimizer",
}


def compile_step(run: RunConfig, mesh: Mesh, height: int, width: int) -> Compiled:
    """The training step of `run.stage`, for images of this size in pixels."""
    stage = STAGES[run.stage]
    params = tree_shapes(run.model)
    parent = dict(params=params, ema=params, teacher=params)
    state = jax.eval_shape(lambda trees: stage.init_state(run, trees), parent)
    state = _placed(state, state_shardings(state, mesh))
    place = batch_sharding(mesh)
    batch = {
        name: _placed(shape, place)
        for name, shape in batch_shapes(run, height, width).items()
    }
    arguments = {"batch": _bytes_on_a_device(batch)}
    for field in dataclasses.fields(state):
        name = _FIELDS.get(field.name, "other")
        size = _bytes_on_a_device(getattr(state, field.name))
        arguments[name] = arguments.get(name, 0) + size
    step = stage.make_train_step(run, mesh=mesh)
    return _compile(lambda: step.lower(state, batch), arguments)


def compile_turn(
    run: RunConfig, mesh: Mesh, height: int, width: int, params_dtype: str = "bfloat16"
) -> tuple[Compiled, Compiled]:
    """The two programs of an editing turn of one session: drawing, committing."""
    params = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(params_dtype)),
        tree_shapes(run.model),
    )
    params = _placed(params, state_shardings(params, mesh))
    sides = (height // run.codec.stride, width // run.codec.stride)
    frame, words = (*sides, run.model.channels), (run.text.length, run.text.dim)
    null = jnp.zeros(words)
    programs = make_programs(run.model, run.memory, run.sampler, null, mesh)
    memory = _memory(run, mesh, sides)
    text, x, noise, step = _placed(
        (
            jax.ShapeDtypeStruct((1, *words), jnp.float32),
            jax.ShapeDtypeStruct((1, *frame), jnp.float32),
            jax.ShapeDtypeStruct((run.sampler.draws, 1, *frame), jnp.float32),
            jax.ShapeDtypeStruct((), jnp.int32),
        ),
        NamedSharding(mesh, PartitionSpec()),
    )
    arguments = {
        "parameters": _bytes_on_a_device(params),
        "memory": _bytes_on_a_device(memory),
    }

    def draw() -> jax.stages.Lowered:
        return programs.draw.lower(params, memory, text, x, noise, step, step)

    def commit() -> jax.stages.Lowered:
        return programs.commit.lower(params, memory, x, text)

    return _compile(draw, arguments), _compile(commit, arguments)


def _memory(run: RunConfig, mesh: Mesh, sides: tuple[int, int]) -> Any:
    """The shapes of a session's memory, where its programs leave them.

    Args:
      sides: (height, width) of the latents.
    """
    patch = run.model.patch
    memory = jax.eval_shape(
        lambda: memories.init_memory(
            run.memory,
            layers=run.model.num_layers,
            batch=1 if run.sampler.guidance == 1.0 else 2,
            tokens=(sides[0] // patch) * (sides[1] // patch),
            heads=run.model.num_heads,
            head_dim=run.model.head_dim,
            dtype=jnp.dtype(run.model.dtype),
        )
    )
    spec = PartitionSpec(None, None, None, "context", "tensor")
    places = jax.tree.map(
        lambda leaf: NamedSharding(mesh, spec if leaf.ndim == 6 else PartitionSpec()),
        memory,
    )
    return _placed(memory, places)


def _compile(
    lower: Callable[[], jax.stages.Lowered], arguments: Mapping[str, int]
) -> Compiled:
    """Lower and compile a program.

    Args:
      arguments: bytes that a device holds of them, by what they are.
    """
    started = time.monotonic()
    arguments = {name: size / GIB for name, size in arguments.items() if size}
    try:
        compiled = lower().compile()
    except jax.errors.JaxRuntimeError as error:
        missing = _missing(str(error))
        if missing is None:
            raise
        used, lacking = missing
        return Compiled(
            text="",
            arguments=arguments,
            temporaries=max(used - sum(arguments.values()), 0.0),
            code=0.0,
            missing=lacking,
            seconds=time.monotonic() - started,
        )
    seconds = time.monotonic() - started
    sizes = compiled.memory_analysis()
    made = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return Compiled(
        text=_text(compiled),
        arguments=arguments,
        temporaries=(sizes.temp_size_in_bytes + max(made, 0)) / GIB,
        code=sizes.generated_code_size_in_bytes / GIB,
        missing=0.0,
        seconds=seconds,
    )


def _missing(message: str) -> tuple[float, float] | None:
    """(GiB needed, GiB over) of the compiler's message; None of any other error."""
    found = re.search(r"Used ([\d.]+)G of ([\d.]+)G hbm", message) or re.search(
        r"memory required .*? \(([\d.]+)G\) exceeds available HBM \(([\d.]+)G\)",
        message,
    )
    if found is None:
        return None
    needed, there = float(found[1]), float(found[2])
    return needed, needed - there


def _text(compiled: jax.stages.Compiled) -> str:
    """HLO with the tables of the attention kernels, which `as_text` leaves out."""
    (module,) = compiled.runtime_executable().hlo_modules()
    options = _hlo.HloPrintOptions()
    options.print_large_constants = True
    return module.to_string(options)


def _placed(shapes: Any, places: Any) -> Any:
    """A tree of shapes with its shardings: a tree of them, or one for all."""
    if isinstance(places, NamedSharding):
        places = jax.tree.map(lambda _: places, shapes)
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=place
        ),
        shapes,
        places,
    )


def _bytes_on_a_device(tree: Any) -> int:
    return sum(
        leaf.dtype.itemsize * math.prod(leaf.sharding.shard_shape(leaf.shape))
        for leaf in jax.tree.leaves(tree)
    )
