"""Writes the certificate of a run while it trains."""

import concurrent.futures
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from anchoredit_jax import files, randomness
from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.config import deciding_values
from anchoredit_jax.data.kinds import fingerprint
from anchoredit_jax.data.placement import parts_of_processes
from anchoredit_jax.data.session_batches import Host
from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel import hosts
from anchoredit_jax.reproducibility import certificate as certificates
from anchoredit_jax.reproducibility.certificate import (
    Certificate,
    Row,
    Segment,
    to_bits,
)
from anchoredit_jax.reproducibility.digests import (
    digest_keys,
    digest_leaves,
    digest_rows,
    step_keys,
)
from anchoredit_jax.reproducibility.environment import describe_environment
from anchoredit_jax.run_config import RunConfig


@dataclasses.dataclass(frozen=True)
class _Batch:
    """What is known of a step when it starts: `rows` is hashed by another thread, and
    `keys` are on the device until its metrics are fetched."""

    ids: np.ndarray
    rows: concurrent.futures.Future
    keys: jax.Array


class Recorder:
    """An `Observer` that keeps a certificate in the stage's folder.

    Attributes:
      every: steps between two rows.
      path: of the certificate, once a run began.
    """

    def __init__(self, every: int = 1):
        if every < 1:
            raise UserError(f"--every must be 1 step or more, got {every}")
        self.every = every
        self.path: Path | None = None
        self._pending: list[_Batch | None] = []
        # One, because hashing must not take cores from the step; it holds no lock.
        self._hashing = concurrent.futures.ThreadPoolExecutor(1)

    def begin(
        self,
        run: RunConfig,
        folder: Path,
        start: int,
        mesh: Mesh,
        lineage: Lineage | None,
        changes: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Start a certificate, or go on with that of the steps before `start`."""
        self.path, self._mesh = folder / certificates.NAME, mesh
        self._batch_size = run.data.batch
        self._root = randomness.stage_key(run.seed, run.stage)
        segments = (Segment(start + 1, describe_environment(mesh)),)
        made = Certificate(
            stage=run.stage,
            config=run.to_dict(),
            config_digest=certificates.digest_config(deciding_values(run)),
            dataset=fingerprint(run.data),
            parent=lineage
            and {
                "stage": lineage.stage,
                "step": lineage.step,
                "digest": lineage.digest,
            },
            every=self.every,
            segments=segments,
            changes=tuple(changes),
        )
        if start and self.path.exists():
            before = certificates.read(self.path).between(0, start)
            earlier = tuple(s for s in before.segments if s.first <= start)
            if earlier and earlier[-1].environment == segments[0].environment:
                segments = ()
            made = dataclasses.replace(
                made,
                segments=earlier + segments,
                rows=before.rows,
                checkpoints=before.checkpoints,
            )
        self._made = made

    def batch(self, step: int, of_host: Mapping[str, np.ndarray]) -> None:
        if step % self.every:
            self._pending.append(None)
            return
        ids = of_host["id"]
        rows = self._hashing.submit(digest_rows, of_host)
        keys = step_keys(self._root, np.int32(step - 1), ids)
        self._pending.append(_Batch(ids, rows, keys))

    def metrics(self, step: int, fetched: Sequence[Mapping[str, Any]]) -> None:
        first = step + 1 - len(fetched)
        pending, self._pending = self._pending, []
        kept = [
            (first + place, batch, metrics)
            for place, (batch, metrics) in enumerate(zip(pending, fetched, strict=True))
            if batch is not None
        ]
        if not kept:
            return
        keys = jax.device_get([batch.keys for _, batch, _ in kept])
        of_host = np.stack(
            [_columns(b, k) for (_, b, _), k in zip(kept, keys, strict=True)]
        )
        rows = [
            Row(
                number,
                ids=files.blake2b(whole[:, :1].tobytes()),
                data=files.blake2b(whole[:, 1:3].tobytes()),
                draws=files.blake2b(whole[:, 3:].tobytes()),
                metrics={
                    name: to_bits(float(metrics[name])) for name in sorted(metrics)
                },
            )
            for (number, _, metrics), whole in zip(
                kept, self._of_all_hosts(of_host), strict=True
            )
        ]
        self._made = dataclasses.replace(self._made, rows=(*self._made.rows, *rows))

    def saving(self, step: int, state: Any) -> None:
        """Written before the checkpoint: a run that goes on from it has all rows."""
        checkpoints = {**self._made.checkpoints, step: digest_leaves(state)}
        self._made = dataclasses.replace(self._made, checkpoints=checkpoints)
        if hosts.is_lead():
            certificates.write(self.path, self._made)

    def _of_all_hosts(self, of_host: np.ndarray) -> np.ndarray:
        """Columns [steps, B, 5] of the whole batch, from those of this host's rows.

        Only digests travel, and only when the loop fetches metrics anyway.
        """
        if jax.process_count() == 1:
            return of_host
        gathered = multihost_utils.process_allgather(of_host)
        whole = np.zeros((len(of_host), self._batch_size, of_host.shape[2]), np.uint32)
        groups = self._mesh.shape["data"] * self._mesh.shape["fsdp"]
        for process, parts in parts_of_processes(self._mesh).items():
            whole[:, Host(parts, groups).rows(self._batch_size)] = gathered[process]
        return whole


def _columns(batch: _Batch, keys: np.ndarray) -> np.ndarray:
    """uint32 [rows, 5]: id, digest of the row, digest of its keys."""
    ids = batch.ids.astype(np.uint32)[:, None]
    return np.concatenate([ids, batch.rows.result(), digest_keys(keys)], axis=1)
