"""What a run reads: its codec and text encoder, and its batches by step."""

import contextlib
import functools
import sys
from collections.abc import Sequence
from typing import Any

import grain
import jax
import numpy as np

from anchoredit_jax.data.batches import open_steps
from anchoredit_jax.data.legs import Leg
from anchoredit_jax.data.session_batches import ALL_ROWS, Host, SessionSteps
from anchoredit_jax.data.session_buckets import check_tokens
from anchoredit_jax.encoders import make_codec, make_text_encoder
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import Codec
from anchoredit_jax.models.text import TextEncoder
from anchoredit_jax.parallel import hosts
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.round_trip import needs_codec


def make_codec_and_text(run: RunConfig) -> tuple[Codec, TextEncoder]:
    """The run's codec and text encoder, which fit its model.

    Raises:
      UserError: latents or text that the model cannot take, naming both numbers.
    """
    with beside_the_run(run):
        codec, text = make_codec(run.codec), make_text_encoder(run.text)
    side = codec.stride * run.model.patch
    for what, given, wanted in (
        ("channels of the codec", codec.channels, run.model.channels),
        ("width of the text encoder", text.dim, run.model.text_dim),
        (f"data.size {run.data.size} modulo {side}", run.data.size % side, 0),
    ):
        if given != wanted:
            raise UserError(f"config: {what}: {given}, the model takes {wanted}")
    return codec, text


def codec_of_step(run: RunConfig) -> Codec | None:
    """The run's codec where its training step needs it, else None."""
    return make_codec(run.codec) if needs_codec(run.options) else None


def make_dataset(
    run: RunConfig,
    codec: Codec,
    text: TextEncoder,
    host: Host = ALL_ROWS,
    legs: Sequence[Leg] = (),
) -> Any:
    """The run's batches by step; the rows of `host` of them.

    Of prepared sessions it is printed how many programs are compiled, and for what. The
    batches' `null_text` is the text of the sampler's unconditional branch.

    Args:
      legs: of a steered run, see `data/legs.py`.

    Raises:
      UserError: images whose tokens the mesh cannot share.
    """
    steps = open_steps(
        run.data, codec, text, patch=run.model.patch, host=host, legs=legs
    )
    check_tokens(steps.shapes, codec.stride * run.model.patch, run.mesh.context)
    if isinstance(steps, SessionSteps) and hosts.is_lead():
        print(steps.coverage(), file=sys.stderr)
    dataset = grain.MapDataset.source(steps)
    if run.sampler.negative:
        with beside_the_run(run):
            (negative,) = np.asarray(text.encode([run.sampler.negative]))
        dataset = dataset.map(functools.partial(_with_null_text, negative))
    return dataset


def _with_null_text(null_text: np.ndarray, batch: dict[str, Any]) -> dict[str, Any]:
    rows = len(batch["null_text"])
    return batch | {"null_text": np.repeat(null_text[None], rows, axis=0)}


def beside_the_run(run: RunConfig) -> contextlib.AbstractContextManager:
    """Where codec and text encoder are loaded: with a feature cache in the memory of
    the host. They only tell then whose features these are, and are let go."""
    if run.data.sessions is None or run.data.sessions.cache is None:
        return contextlib.nullcontext()
    return jax.default_device(jax.local_devices(backend="cpu")[0])
