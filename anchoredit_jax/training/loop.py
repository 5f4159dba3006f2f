"""The training loop that every stage runs in: resume, step, log, checkpoint, stop.

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
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from anchoredit_jax import files
from anchoredit_jax.checkpoint import assets, manager
from anchoredit_jax.checkpoint.assets import Weights
from anchoredit_jax.checkpoint.keeping import measures_of, policy_of
from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.data.batches import iterate_batches
from anchoredit_jax.data.placement import host_of, place
from anchoredit_jax.data.session_batches import (
    sample_name,
)
from anchoredit_jax.errors import Exit, exit_on_user_error
from anchoredit_jax.optimizer import make_schedule
from anchoredit_jax.parallel import batch_sharding, hosts, make_mesh
from anchoredit_jax.run_config import LoopConfig, RunConfig
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.training import steering
from anchoredit_jax.training.content import describe_content, describe_on_host
from anchoredit_jax.training.divergence import DivergedError, Skipped, Watch
from anchoredit_jax.training.going_back import set_aside, starting_step
from anchoredit_jax.training.held_out import HeldOut, open_held_out
from anchoredit_jax.training.inputs import (
    beside_the_run,
    codec_of_step,
    make_codec_and_text,
    make_dataset,
)
from anchoredit_jax.training.metrics_log import (
    FILE,
    MetricsLog,
    count_step,
    progress_bar,
    read_metrics,
)
from anchoredit_jax.training.observer import Observer
from anchoredit_jax.training.parents import check_same_parent, find_parent, named_parent
from anchoredit_jax.training.profiling import Profiler, ProfileWindow
from anchoredit_jax.training.stage_folder import CONFIG, stage_folder
from anchoredit_jax.training.state import (
    check_rows,
    fresh_state,
    restore_state,
)
from anchoredit_jax.training.steering import History
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
        loop = _Loop(
            run, lineage, content, history, measures, saver, log, bar, profiler, start,
            batch_sharding(mesh), Throughput(run, mesh.size),
            Watch(
                run.stage, run.loop, skipped, functools.partial(sample_name, run.data)
            ),
            observer, held_out,
        )  # fmt: skip
        train_step = stage.make_train_step(run, codec_of_step(run), mesh)
        with manager.telling_what_stands(checkpoints):
            step = loop.train(train_step, state, batches, stop)
        manager.finish_saves(saver)
        stop.settled()  # the last save takes a while
    if stop.honoured is not None:
        raise Stopped(stop.honoured, run.stage, step)
    return StageResult(step, checkpoints / str(step), loop.last_row, start)


@dataclasses.dataclass
class _Loop:
    """The mutable bookkeeping of one run: what is not yet fetched, written or saved."""

    run: RunConfig
    lineage: Lineage | None
    content: Mapping[str, str]
    history: History
    measures: dict[int, float]
    saver: Any
    log: MetricsLog
    bar: Any
    profiler: Profiler
    saved: int
    rows: jax.sharding.Sharding
    speed: Throughput
    watch: Watch
    observer: Observer | None
    held_out: HeldOut | None
    read_back: bool = False  # whether a save of this run was seen to be readable
    pending: list[dict[str, jax.Array]] = dataclasses.field(default_factory=list)
    last_row: dict[str, float] = dataclasses.field(default_factory=dict)

    def train(
        self, train_step: Any, state: Any, batches: Iterator[Any], stop: StopRequest
    ) -> int:
        """Step until the end or a stop request; returns the last committed step."""
        lengths, step = self.run.loop, self.saved
        if self.held_out is not None:
            self.tell(self.held_out.describe())
            # What the stage starts from; here the programs are compiled.
            if step == 0 and not stop.settled():
                self.measure(step, state)
        while step < lengths.steps and not stop.due():
            manager.check_saves(self.saver)
            asked = time.monotonic()
            of_host = next(batches)
            waited = time.monotonic() - asked
            batch = place(of_host, self.rows)
            with jax.transfer_guard("disallow"):
                state, metrics = train_step(state, batch)
            step += 1
            if self.observer is not None:
                self.observer.batch(step, of_host)
            self.pending.append(
                self.watch.follow(step, metrics, of_host, state, self.saved)
            )
            self.speed.count(batch["latents"], waited)
            if not self.speed.running:  # the first step compiles: no measure of speed
                jax.block_until_ready(metrics)
                self.speed.begin()
            count_step(self.bar)
            self.profiler.after(step, metrics)
            measured = self.held_out is not None and self.held_out.due(step)
            saved = step % lengths.checkpoint_every == 0 or step == lengths.steps
            if measured or saved or step % lengths.log_every == 0:
                self.report(step, state)
            if measured:
                self.measure(step, state)
            if saved:
                self.save(step, state)
        stop.settled()
        if step > self.saved:
            self.save(step, state)
        return step

    def report(self, step: int, state: Any) -> None:
        """Check the last step, fetch the metrics since the last row, write their mean.

        A metric that is NaN at some steps (one that does not apply to them) is
        averaged over the others.
        """
        self.watch.settle(state, self.saved)
        fetched = jax.device_get(self.pending)
        if self.observer is not None:
            self.observer.metrics(step, fetched)
        row = {}
        for name in sorted({name for metrics in fetched for name in metrics}):
            values = np.array([metrics.get(name, np.nan) for metrics in fetched])
            if np.isfinite(values).any():
                row[name] = float(values[np.isfinite(values)].mean(dtype=np.float64))
        row |= self.rates(step) | self.speed.row(self.run.loop.steps - step)
        if self.run.loop.skip_nonfinite or self.run.loop.skip_spikes:
            row["skipped"] = float(self.watch.skipped.total)
        self.log.write(step, row)
        shown = {"loss": f"{row['loss']:.4f}"} if "loss" in row else {}
        if "tflops" in row:
            shown["TFLOP/s"] = f"{row['tflops']:.3g}"
        self.bar.set_postfix(shown, refresh=False)
        self.pending, self.last_row = [], row

    def rates(self, step: int) -> dict[str, float]:
        """Learning rates of the last step, by the names of `Stage.optimizers`."""
        optimizers = STAGES[self.run.stage].optimizers(self.run)
        return {
            name: float(make_schedule(optimizer)(step - 1))
            for name, optimizer in optimizers.items()
        }

    def measure(self, step: int, state: Any) -> None:
        """Measure held-out sessions, and write down what comes out."""
        begun = time.monotonic()
        row, sheet = self.held_out.measure(step, state)
        if not step:
            seconds = time.monotonic() - begun
            self.tell(f"held out: compiled and measured in {seconds:.1f} s")
        self.log.write(step, row)
        self.last_row |= row  # a measure may decide which checkpoints stay
        if sheet is not None:
            self.log.write_picture(step, "samples", sheet)
        if self.speed.running:
            self.speed.begin()

    def tell(self, line: str) -> None:
        """A line above the bar, of the first process alone."""
        if hosts.is_lead():
            self.bar.write(line, file=sys.stderr)

    def save(self, step: int, state: Any) -> None:
        """Report, so that nothing diverged is ever saved, then start saving."""
        if self.pending:  # a signal may come right after a row
            self.report(step, state)
        row = {"step": step, **self.last_row}
        self.measures |= measures_of([row], self.run.loop)
        if self.run.loop.keep_best and step not in self.measures and hosts.is_lead():
            print(
                f"step {step} is not among the best: its row has no finite "
                f"{self.run.loop.best_by!r}",
                file=sys.stderr,
            )
        if self.observer is not None:
            self.observer.saving(step, state)
        meta = assets.make_meta(
            self.run.stage, step, self.run, self.lineage, self.content,
            {
                **self.history.to_meta(),
                "skipped": dataclasses.asdict(self.watch.skipped),
            },
        )  # fmt: skip
        manager.save(self.saver, step, state, meta)
        self.saved = step
        if not self.read_back:
            manager.read_back(self.saver, step)
            self.read_back = True


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


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """The exits of scripts that train, see `errors.Exit`.

    SIGTERM is `stop_requests`'s; before a run begins it ends the process as ever, also
    while JAX waits for other hosts, where no handler of Python's is called.
    """
    try:
        with exit_on_user_error(sigterm=False):
            try:
                yield
            except manager.SaveError as error:
                if jax.process_count() > 1:
                    raise RuntimeError("this host's disk or network fails") from error
                print(f"error: {error}", file=sys.stderr)
                hosts.end_now(Exit.DISK)  # threads of the save would be waited for
            except OSError as error:
                if jax.process_count() == 1:
                    raise
                # Of several hosts, `Hosts` has to end the others.
                raise RuntimeError("this host's disk or network fails") from error
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        raise SystemExit(stopped.exit_code) from stopped
    except DivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(Exit.DIVERGED) from error
