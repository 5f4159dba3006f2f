"""Compiling a step or a turn for a topology, and reading a line of a plan from it."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from jax.sharding import Mesh

from anchoredit_jax import files, turn
from anchoredit_jax.data.buckets import Size
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.kernels import attention_kernel
from anchoredit_jax.parallel import AXES, MeshConfig, make_mesh
from anchoredit_jax.parallel.chips import CHIPS, Chip
from anchoredit_jax.planning.compiling import Compiled, compile_step, compile_turn
from anchoredit_jax.planning.formula import (
    Operations,
    step_operations,
    turn_operations,
)
from anchoredit_jax.planning.program import Kernel, Program, read_program
from anchoredit_jax.planning.row import PlanRow
from anchoredit_jax.planning.shapes import SQUARE, bucket_size, tokens_of
from anchoredit_jax.planning.splash_work import SplashCall, splash_call
from anchoredit_jax.planning.topology import devices_of
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.distill import STEPS_SCOPE
from anchoredit_jax.stages.distribution_matching import GENERATOR_SCOPE
from anchoredit_jax.stages.rollout import TURNS_SCOPE
from anchoredit_jax.training.state import check_rows

TURN = "turn"  # the name of the editing turn beside those of stages


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
    compiled = [compile_step(run, mesh, *sides)]
    operations = step_operations(run, tokens_of(run, sides))
    return _row(
        compiled, operations, _longest_loops(run), run=run, mesh=mesh,
        topology=topology, size=size, program=run.stage, batch=run.data.batch,
        frames=run.data.turns + 1, sides=sides, bucket=bucket, of=of,
    )  # fmt: skip


def plan_turn(
    run: RunConfig, topology: str, size: str = "", image: int | None = None
) -> PlanRow:
    """Compile one editing turn of `run`'s memory and sampler, as `plan_step`."""
    mesh, of = mesh_on(run.mesh, topology), digest_of(run)
    run = _with_kernel(run, mesh)
    side = image or run.data.size
    compiled = compile_turn(run, mesh, side, side)
    operations = turn_operations(run, tokens_of(run, (side, side)))
    frames = run.memory.sink + run.memory.window + 1
    return _row(
        compiled, operations, _turn_loops(run), run=run, mesh=mesh,
        topology=topology, size=size, program=TURN, batch=1, frames=frames,
        sides=(side, side), bucket=SQUARE, of=of,
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


def _row(
    compiled: Sequence[Compiled],
    operations: Operations,
    loops: Callable[[str], int | None],
    *,
    run: RunConfig,
    mesh: Mesh,
    topology: str,
    sides: Size,
    **named: Any,
) -> PlanRow:
    """The line of programs that run one after the other; `named` goes into it as is."""
    chip = CHIPS[topology.partition(":")[0]]
    worst = max(compiled, key=lambda program: program.peak)
    work, calls = _read(compiled, loops)
    return PlanRow(
        **named,
        topology=topology,
        sides=sides,
        tokens=tokens_of(run, sides),
        chips=mesh.size,
        mesh={axis: mesh.shape[axis] for axis in AXES if mesh.shape[axis] > 1},
        remat=run.model.remat,
        memory={
            **worst.arguments,
            "temporaries": worst.temporaries,
            "program": worst.code,
        },
        peak=worst.peak,
        hbm=chip.hbm_gib,
        missing=max(*(p.missing for p in compiled), worst.peak - chip.hbm_gib, 0.0),
        model_flops=operations.model,
        mean_flops=operations.mean,
        repeated_flops=operations.rematerialised + operations.kernels,
        attention_share=operations.attention / operations.dense_attention,
        compile_seconds=sum(program.seconds for program in compiled),
        **({} if work is None else _measures(work, calls, chip, mesh.size)),
    )


def _measures(
    work: Program, calls: Sequence[SplashCall], chip: Chip, chips: int
) -> dict[str, Any]:
    """The fields of a line that are read from the programs."""
    of_frames = [call for call in calls if call.of_frames]
    dense = sum(call.dense for call in of_frames)
    worked = sum(call.worked for call in of_frames)
    return dict(
        compiled_flops=work.all_flops * chips,
        compiled_attention_share=worked / dense if dense else math.nan,
        hbm_bytes=work.hbm_bytes,
        host_bytes=work.host_bytes,
        collective_bytes=work.collective_bytes_by_kind,
        hidden_bytes=work.hidden_bytes,
        seconds={
            "compute": work.all_flops / (chip.tflops * 1e12),
            "memory": work.hbm_bytes / (chip.hbm_gbps * 1e9),
            "links": work.collective_bytes / (chip.ici_gbps * 1e9),
            "slices": work.dcn_bytes / (chip.dcn_gbps * 1e9),
        },
    )


def _read(
    compiled: Sequence[Compiled], loops: Callable[[str], int | None]
) -> tuple[Program | None, list[SplashCall]]:
    """Work of all programs, None where one did not fit, and their attention kernels."""
    calls: list[SplashCall] = []
    if not all(program.text for program in compiled):
        return None, calls

    def count(kernel: Kernel) -> tuple[float, float]:
        call = splash_call(kernel)
        calls.append(call)
        return call.flops, call.hbm_bytes

    works = [read_program(p.text, kernels=count, loops=loops) for p in compiled]
    return sum(works, Program()), calls


def _turn_loops(run: RunConfig) -> Callable[[str], int | None]:
    """Rounds of a turn's loop: all steps of its frame."""
    return lambda op_name: run.sampler.steps if turn.STEPS_SCOPE in op_name else None


def _longest_loops(run: RunConfig) -> Callable[[str], int | None]:
    """Rounds of the loops whose length is drawn: the most there can be, as in
    `step_operations`."""
    turns = run.data.turns
    if run.stage == "causal_forcing":  # the last turn is never rolled out
        turns = max(turns - 1, 1)

    def rounds(op_name: str) -> int | None:
        if STEPS_SCOPE in op_name:
            return run.sampler.draws - 1
        if TURNS_SCOPE in op_name:
            return turns - 1 if GENERATOR_SCOPE in op_name else turns
        return None

    return rounds
