"""One line of a plan: a program on a mesh of some chips, what it needs and may take."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from jax.sharding import Mesh

from anchoredit_jax import files, turn
from anchoredit_jax.config import RunConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.kernels import attention_kernel
from anchoredit_jax.parallel import AXES, MeshConfig, make_mesh
from anchoredit_jax.parallel.chips import CHIPS
from anchoredit_jax.planning.compiling import Compiled, compile_step, compile_turn
from anchoredit_jax.planning.formula import (
    Operations,
    step_operations,
    turn_operations,
)
from anchoredit_jax.planning.program import Kernel, Program, read_program
from anchoredit_jax.planning.shapes import SQUARE, bucket_size, tokens_of
from anchoredit_jax.planning.splash_work import splash_call
from anchoredit_jax.planning.topology import devices_of
from anchoredit_jax.stages.distill import STEPS_SCOPE
from anchoredit_jax.stages.distribution_matching import GENERATOR_SCOPE
from anchoredit_jax.stages.placed_state import check_rows
from anchoredit_jax.stages.rollout import TURNS_SCOPE

TURN = "turn"  # the name of the editing turn beside those of stages
SECONDS = ("compute", "memory", "links", "slices")


@dataclasses.dataclass(frozen=True)
class PlanRow:
    """What a compiled program needs of a chip, and what bounds its speed.

    Attributes:
      size, program: of the model; a stage, or "turn".
      topology, chips, mesh: where; the mesh by axis.
      batch, frames, tokens: samples of a step, frames of a sequence, tokens of a frame.
      sides, bucket: (height, width) of the images in pixels, and which shape that is.
      remat: `model.remat`.
      memory: GiB a chip by what it is; "temporaries" are activations, gradients and
        buffers of collectives.
      peak, hbm: GiB that the program needs of a chip, and that the chip has.
      missing: GiB that it lacks, 0 where it fits.
      model_flops, repeated_flops: of all chips by the formula: the model's, and what
        rematerialisation and attention's backward kernels compute again.
      compiled_flops: of all chips, counted in the compiled program.
      attention_share: attention between frames, of what it were if all frames saw all;
        where samples have memory policies of their own, of the one that sees most.
      mean_flops: `model_flops` of the mean step: over policies, and what is drawn.
      compiled_attention_share: blocks that the compiled kernels work, of all blocks.
      hbm_bytes, host_bytes, collective_bytes: of a chip; the last by kind.
      seconds: predicted lower bounds of one execution, by resource.
      compile_seconds: that compiling took.
      note: what was chosen for this line, or tried.
      of: digest of the configuration that was compiled.
    """

    size: str
    program: str
    topology: str
    chips: int
    mesh: dict[str, int]
    batch: int
    frames: int
    tokens: int
    sides: tuple[int, int]
    bucket: str
    remat: str
    memory: dict[str, float]
    peak: float
    hbm: float
    missing: float
    model_flops: float
    mean_flops: float
    repeated_flops: float
    compiled_flops: float
    attention_share: float
    compiled_attention_share: float
    hbm_bytes: float
    host_bytes: float
    collective_bytes: dict[str, float]
    seconds: dict[str, float]
    compile_seconds: float
    note: str = ""
    of: str = ""

    @property
    def fits(self) -> bool:
        return self.missing == 0 and self.peak <= self.hbm

    @property
    def bound(self) -> str:
        """The resource that is needed longest; "" where nothing was compiled."""
        return max(self.seconds, key=self.seconds.__getitem__, default="")

    @property
    def predicted_seconds(self) -> float:
        """A lower bound of one execution: no resource can be faster."""
        return max(self.seconds.values(), default=math.nan)

    @property
    def agreement(self) -> float:
        """Operations of the compiled program over those of the formula."""
        return self.compiled_flops / (self.model_flops + self.repeated_flops)

    @property
    def predicted_mfu(self) -> float:
        """Upper bound: model operations over what the chips could do meanwhile."""
        peak = CHIPS[self.topology.partition(":")[0]].tflops * 1e12 * self.chips
        return self.model_flops / (self.predicted_seconds * peak)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with what follows from them."""
        derived = ("fits", "bound", "predicted_seconds", "agreement", "predicted_mfu")
        values = dataclasses.asdict(self)
        if self.seconds:
            values |= {name: getattr(self, name) for name in derived}
        else:
            values["fits"] = self.fits
        return values


def plan_step(
    run: RunConfig,
    topology: str,
    size: str = "",
    image: int | None = None,
    bucket: str = SQUARE,
) -> PlanRow:
    """Compile the training step of `run` for a topology.

    Args:
      size: a name for the model.
      image: side of square images, pixels; `run.data.size` by default.
      bucket: which shape of images, see `shapes.bucket_size`.

    Raises:
      UserError: a topology, mesh or bucket that cannot be.
    """
    sides = bucket_size(run, bucket, topology.partition(":")[0], image)
    if sides is None:
        raise UserError("the configuration has images of one shape, no worst bucket")
    mesh, of = mesh_on(run.mesh, topology), digest_of(run)
    run = _with_kernel(run, mesh)
    check_rows(run, mesh)
    tokens = tokens_of(run, sides)
    compiled = compile_step(run, mesh, *sides)
    loops = _longest_loops(run)
    return _row(
        [compiled], step_operations(run, tokens), loops,
        size=size, program=run.stage, topology=topology, mesh=mesh, run=run,
        batch=run.data.batch, frames=run.data.turns + 1, tokens=tokens, sides=sides,
        bucket=bucket, of=of,
    )  # fmt: skip


def plan_turn(
    run: RunConfig, topology: str, size: str = "", image: int | None = None
) -> PlanRow:
    """Compile one editing turn of `run`'s memory and sampler, as `plan_step`."""
    mesh, of = mesh_on(run.mesh, topology), digest_of(run)
    run = _with_kernel(run, mesh)
    sides = (image or run.data.size,) * 2
    tokens = tokens_of(run, sides)
    programs = compile_turn(run, mesh, *sides)
    return _row(
        list(programs), turn_operations(run, tokens), _turn_loops(run),
        size=size, program=TURN, topology=topology, mesh=mesh, run=run, batch=1,
        frames=run.memory.sink + run.memory.window + 1, tokens=tokens, sides=sides,
        bucket=SQUARE, of=of,
    )  # fmt: skip


def mesh_on(config: MeshConfig, topology: str) -> Mesh:
    """A mesh of all devices of a topology, or of as many such slices as it has.

    Raises:
      UserError: there is no such topology, or the mesh leaves devices out.
    """
    devices = devices_of(topology, config.slices)
    mesh = make_mesh(config, devices)
    if mesh.size != len(devices):
        raise UserError(
            f"a mesh of {mesh.size} devices leaves {len(devices) - mesh.size} of "
            f"{topology} without work: set its axes (mesh.data=none takes the rest)"
        )
    return mesh


def digest_of(run: RunConfig) -> str:
    """What tells apart the configurations of lines of the same name."""
    return files.sha256(run.to_json().encode(), digits=12)


def _with_kernel(run: RunConfig, mesh: Mesh) -> RunConfig:
    """The run with the kernel of attention that the mesh's devices take."""
    kernel = attention_kernel(run.model, mesh.devices.flat[0])
    return run.replace(model=dataclasses.replace(run.model, attention=kernel))


def _row(programs, operations: Operations, loops, *, run, mesh, topology, **named):
    chip = CHIPS[topology.partition(":")[0]]
    worst: Compiled = max(programs, key=lambda program: program.peak)
    memory = {
        **worst.arguments, "temporaries": worst.temporaries, "program": worst.code,
    }  # fmt: skip
    calls: list[Any] = []
    read = [_read(program.text, loops, calls) for program in programs if program.text]
    total = _sum(read) if len(read) == len(programs) else None
    collectives: dict[str, float] = {}
    for program in read if total else ():
        for kind, size in program.collective_bytes_by_kind.items():
            collectives[kind] = collectives.get(kind, 0.0) + size
    frames_calls = [call for call in calls if call.of_frames]
    dense = sum(call.dense for call in frames_calls)
    return PlanRow(
        **named,
        topology=topology,
        chips=mesh.size,
        mesh={axis: mesh.shape[axis] for axis in AXES if mesh.shape[axis] > 1},
        remat=run.model.remat,
        memory=memory,
        peak=worst.peak,
        hbm=chip.hbm_gib,
        missing=max(max(p.missing for p in programs), worst.peak - chip.hbm_gib, 0.0),
        model_flops=operations.model,
        mean_flops=operations.mean,
        repeated_flops=operations.rematerialised + operations.kernels,
        compiled_flops=total["flops"] * mesh.size if total else math.nan,
        attention_share=operations.attention / operations.dense_attention,
        compiled_attention_share=(
            sum(call.worked for call in frames_calls) / dense if dense else math.nan
        ),
        hbm_bytes=total["hbm"] if total else math.nan,
        host_bytes=total["host"] if total else math.nan,
        collective_bytes=collectives,
        seconds={
            "compute": total["flops"] / (chip.tflops * 1e12),
            "memory": total["hbm"] / (chip.hbm_gbps * 1e9),
            "links": total["ici"] / (chip.ici_gbps * 1e9),
            "slices": total["dcn"] / (chip.dcn_gbps * 1e9),
        }
        if total
        else {},
        compile_seconds=sum(program.seconds for program in programs),
    )


@dataclasses.dataclass(frozen=True)
class _Call:
    """Blocks of one kernel call in the text, of attention between frames or not."""

    of_frames: bool
    worked: int
    dense: int


def _read(text: str, loops: Callable | None, calls: list[_Call]) -> Program:
    """Work of a program; what its kernels work is appended to `calls`."""

    def flops(kernel: Kernel) -> float:
        call = splash_call(kernel)
        of_frames = "self_attn" in kernel.op_name
        calls.append(_Call(of_frames, call.worked, call.dense))
        return call.flops

    return read_program(
        text,
        kernel_flops=flops,
        kernel_bytes=lambda kernel: splash_call(kernel).hbm_bytes,
        loops=loops,
    )


def _sum(programs: list[Program]) -> dict[str, float]:
    return {
        "flops": sum(p.flops + p.kernel_flops for p in programs),
        "hbm": sum(p.hbm_bytes for p in programs),
        "host": sum(p.host_bytes for p in programs),
        "ici": sum(p.collective_bytes for p in programs),
        "dcn": sum(p.dcn_bytes for p in programs),
    }


def _turn_loops(run: RunConfig) -> Callable[[str], int]:
    """Rounds of a turn's loop: all steps of its frame."""

    def rounds(op_name: str) -> int:
        if turn.STEPS_SCOPE in op_name:
            return run.sampler.steps
        raise _uncounted(op_name)

    return rounds


def _uncounted(op_name: str) -> UserError:
    return UserError(
        f"the program has a loop of unknown length ({op_name}): its work cannot be "
        "counted"
    )


def _longest_loops(run: RunConfig) -> Callable[[str], int]:
    """Rounds of the loops whose length is drawn: the most there can be, as in
    `step_operations`."""
    turns = run.data.turns
    if run.stage == "causal_forcing":  # the last turn is never rolled out
        turns = max(turns - 1, 1)

    def rounds(op_name: str) -> int:
        if STEPS_SCOPE in op_name:
            return run.sampler.draws - 1
        if TURNS_SCOPE in op_name:
            return turns - 1 if GENERATOR_SCOPE in op_name else turns
        raise _uncounted(op_name)

    return rounds
