"""One run's steps: trained, reported, measured and saved, in turn."""

import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from anchoredit_jax.checkpoint import assets, manager
from anchoredit_jax.checkpoint.keeping import measures_of
from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.data.placement import place
from anchoredit_jax.optimizer import make_schedule
from anchoredit_jax.parallel import hosts
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.training.divergence import Watch
from anchoredit_jax.training.held_out import HeldOut
from anchoredit_jax.training.metrics_log import MetricsLog, count_step
from anchoredit_jax.training.observer import Observer
from anchoredit_jax.training.profiling import Profiler
from anchoredit_jax.training.steering import History
from anchoredit_jax.training.stopping import StopRequest
from anchoredit_jax.training.throughput import Throughput


@dataclasses.dataclass
class Steps:
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
