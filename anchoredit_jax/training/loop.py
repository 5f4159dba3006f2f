"""A run of a stage: what it starts from, its steps (steps.py), and how it ends.

Layout of a workdir: `W/<stage>/` with `config.json`, `metrics.jsonl`, `tensorboard/`
and `checkpoints/<step>/`. The batch and every draw of step s are functions of the
configuration and s alone (docs/method.md, Determinism), so a run goes on from a
checkpoint bit for bit as if it had never been interrupted.
"""

import contextlib
import dataclasses
import functools
import json
import sys
import zlib
from pathlib import Path

from anchoredit_jax import files
from anchoredit_jax.checkpoint import assets, manager
from anchoredit_jax.checkpoint.assets import Weights
from anchoredit_jax.checkpoint.keeping import measures_of, policy_of
from anchoredit_jax.data.batches import iterate_batches
from anchoredit_jax.data.placement import host_of
from anchoredit_jax.data.session_batches import sample_name
from anchoredit_jax.parallel import batch_sharding, hosts, make_mesh
from anchoredit_jax.run_config import LoopConfig, RunConfig
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.training import steering
from anchoredit_jax.training.content import describe_content, describe_on_host
from anchoredit_jax.training.divergence import Skipped, Watch
from anchoredit_jax.training.going_back import set_aside, starting_step
from anchoredit_jax.training.held_out import open_held_out
from anchoredit_jax.training.inputs import (
    beside_the_run,
    codec_of_step,
    make_codec_and_text,
    make_dataset,
)
from anchoredit_jax.training.metrics_log import (
    FILE,
    MetricsLog,
    progress_bar,
    read_metrics,
)
from anchoredit_jax.training.observer import Observer
from anchoredit_jax.training.parents import check_same_parent, find_parent, named_parent
from anchoredit_jax.training.profiling import Profiler, ProfileWindow
from anchoredit_jax.training.stage_folder import CONFIG, stage_folder
from anchoredit_jax.training.state import check_rows, fresh_state, restore_state
from anchoredit_jax.training.steps import Steps
from anchoredit_jax.training.stopping import Stopped, StopRequest, stop_requests
from anchoredit_jax.training.throughput import Throughput
from anchoredit_jax.training.wandb_run import WandbRun
from anchoredit_jax.training.workdir import run_alone


@dataclasses.dataclass(frozen=True)
class StageResult:
    """The result of `run_stage`.

    Attributes:
      step: the last committed step.
      checkpoint: its folder.
      metrics: the last row of metrics; empty where no step was left to do.
      resumed: the step that this call started from, 0 for a fresh run.
    """

    step: int
    checkpoint: Path
    metrics: dict[str, float]
    resumed: int


def run_stage(
    run: RunConfig,
    workdir: str | Path,
    parent: str | Path | Weights | None = None,
    *,
    quiet: bool = False,
    profile: ProfileWindow | None = None,
    observer: Observer | None = None,
    wandb: str | None = None,
    change: bool = False,
    from_step: int | None = None,
    stop: StopRequest | None = None,
) -> StageResult:
    """Train `run.stage` in `workdir/<stage>` up to `run.loop.steps`.

    Goes on at the last committed step where there is one. SIGTERM and Ctrl-C save the
    current step first and raise `Stopped`.

    Example:
        from anchoredit_jax import load_config, load_editor, run_stage

        run = load_config("configs/sprites.py:stage=single_turn,preset=quick,steps=5")
        done = run_stage(run, "W")
        print(done.step, done.metrics["loss"])
        editor = load_editor("W")

    Args:
      parent: checkpoint or bundle of the stage before; None, or `workdir` itself, looks
        for what the stage can follow in `workdir`. When the run is resumed its weights
        are not read, it only has to be the one that the run began from.
      quiet: no progress bar.
      profile: steps of which a profiler trace is written to `workdir/<stage>/profile`.
      observer: is told of every step.
      wandb: project of Weights & Biases that gets the metrics too.
      change: go on with another configuration or other data, see `steering.py`.
      from_step: go on at this checkpoint; later ones are moved aside, see
        `going_back.py`.
      stop: that of a curriculum, which outlives the stage; None makes one.

    Raises:
      UserError: nothing is written: unknown or unfit parent, data that does not fit
        the model, a workdir that holds a run of another configuration, a file in the
        workdir's place, or steps to profile that are not run.
      DivergedError: a loss or gradient became NaN or infinite.
      Stopped: a signal asked for it.
    """
    stage_folder(workdir, run.stage)  # before a folder is made there
    with (
        contextlib.nullcontext(stop) if stop else stop_requests() as stop,
        run_alone(workdir),
    ):
        return _run_stage(
            run, workdir, parent, stop, quiet, profile, observer, wandb, change,
            from_step,
        )  # fmt: skip


def _run_stage(
    run: RunConfig,
    workdir: str | Path,
    parent: str | Path | Weights | None,
    stop: StopRequest,
    quiet: bool,
    profile: ProfileWindow | None,
    observer: Observer | None,
    wandb: str | None,
    change: bool,
    from_step: int | None,
) -> StageResult:
    """`run_stage`, in a workdir that is this run's alone."""
    stage = STAGES[run.stage]
    parent = named_parent(parent, workdir)
    folder = stage_folder(workdir, run.stage)
    checkpoints = folder / "checkpoints"
    start = starting_step(run, folder, from_step)
    if profile is not None:
        profile.check(start or 0, run.loop.steps)
    _check_processes(run, checkpoints, start)
    mesh = make_mesh(run.mesh)
    hosts.check_mesh(mesh)
    check_rows(run, mesh)
    codec, text = make_codec_and_text(run)
    content = describe_content(run, codec, text)
    hosts.check_same(
        "what is trained on",
        zlib.crc32(json.dumps(describe_on_host(run, content)).encode()),
        "sessions, features, codec, text encoder and tokenizer must be the same on "
        "every host",
    )
    meta = None if start is None else manager.read_meta(checkpoints / str(start))
    if meta is None:
        history = steering.begin(run)
    else:
        history = steering.go_on(run, content, codec, meta, folder, change, from_step)
    hosts.check_same(
        "what was trained on before",
        zlib.crc32(json.dumps(history.to_meta()).encode()),
        "the sessions of before must lie where every host finds them",
    )
    dataset = make_dataset(run, codec, text, host_of(mesh), history.legs)
    with beside_the_run(run):
        held_out = open_held_out(run, codec, text, mesh)
    del codec, text  # with a feature cache training needs their weights no more
    if start is None or meta is None:
        weights, trees = find_parent(run, workdir, parent, mesh)
        lineage = weights.lineage if weights else None
        hosts.check_same(
            "the parent's weights",
            zlib.crc32(lineage.digest.encode()) if lineage else 0,
            "what --parent names must be the same on every host",
        )
        state = fresh_state(run, trees, mesh)
        start, aside = 0, None
    else:
        lineage = assets.parent_of(meta)
        check_same_parent(run.stage, lineage, parent)
        if start >= run.loop.steps:
            return StageResult(start, checkpoints / str(start), {}, start)
        state = restore_state(run, checkpoints / str(start), mesh)
        goes_back = from_step == start and hosts.is_lead()
        aside = set_aside(run, folder, start) if goes_back else None
        hosts.barrier("later checkpoints are set aside")
    skipped = Skipped(**(meta or {}).get("skipped", {}))
    lead = hosts.is_lead()
    if aside is not None:
        print(aside, file=sys.stderr)
    if lead:
        files.write_text(folder / CONFIG, run.to_json() + "\n")
    measures = known_measures(folder, start, run.loop)
    policy = policy_of(run.loop, measures)
    if observer is not None:
        observer.begin(run, folder, start, mesh, lineage, history.changes)
    elsewhere = WandbRun(wandb, folder, run.to_dict()) if lead and wandb else None
    with (
        manager.saving(checkpoints, policy) as saver,
        MetricsLog(folder if lead else None, start, elsewhere) as log,
        progress_bar(run.stage, start, run.loop.steps, quiet or not lead) as bar,
        Profiler(profile, folder / "profile", start) as profiler,
        contextlib.closing(
            iterate_batches(dataset, start, workers=run.data.workers)
        ) as batches,
    ):
        steps = Steps(
            run, lineage, content, history, measures, saver, log, bar, profiler, start,
            batch_sharding(mesh), Throughput(run, mesh.size),
            Watch(
                run.stage, run.loop, skipped, functools.partial(sample_name, run.data)
            ),
            observer, held_out,
        )  # fmt: skip
        train_step = stage.make_train_step(run, codec_of_step(run), mesh)
        with manager.telling_what_stands(checkpoints):
            step = steps.train(train_step, state, batches, stop)
        manager.finish_saves(saver)
        stop.settled()  # the last save takes a while
    if stop.honoured is not None:
        raise Stopped(stop.honoured, run.stage, step)
    return StageResult(step, checkpoints / str(step), steps.last_row, start)


def _check_processes(run: RunConfig, checkpoints: Path, start: int | None) -> None:
    """UserError unless all processes are about to do the same."""
    hosts.check_same(
        "the configuration",
        zlib.crc32(run.to_json().encode()),
        "start the same command, of the same version, on every host",
    )
    hosts.check_same(
        f"the last step in {checkpoints}",
        start or 0,
        "wait until all hosts see the same files there, and start again",
    )


def known_measures(folder: Path, start: int, loop: LoopConfig) -> dict[int, float]:
    """Step -> value of `loop.best_by` in the rows up to the step `start`."""
    path = folder / FILE
    rows = read_metrics(path) if loop.keep_best and path.exists() else []
    return measures_of([row for row in rows if row["step"] <= start], loop)
