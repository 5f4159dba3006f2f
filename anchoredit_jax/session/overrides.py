"""What whoever edits asks for instead of what the weights were stored with."""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Iterator
from typing import Any

from anchoredit_jax.diffusion.samplers import SamplerConfig, check_negative
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.kernels import attention_kernel
from anchoredit_jax.run_config import RunConfig

log = logging.getLogger(__name__)


def override_run(
    run: RunConfig,
    *,
    vae: str | os.PathLike | None = None,
    text: str | os.PathLike | None = None,
    attention: str | None = None,
) -> RunConfig:
    """The run with other paths and another kernel; None keeps what is there.

    A stored kernel that this machine does not have gives way to one that it has, told
    on the log.

    Args:
      vae: weights of the Wan VAE.
      text: folder of UMT5.
      attention: see `models/attention.py`.

    Raises:
      UserError: the run has another codec or text encoder, which reads no file; or the
        kernel is unknown, or not of this machine.
    """
    if vae is not None:
        settings = _of_kind(run.codec, "wan_vae", "--vae (vae)", "codec")
        settings = dataclasses.replace(settings, weights=os.path.abspath(vae))
        run = run.replace(codec=dataclasses.replace(run.codec, wan_vae=settings))
    if text is not None:
        settings = _of_kind(run.text, "umt5", "--text (text)", "text encoder")
        settings = dataclasses.replace(settings, folder=os.path.abspath(text))
        run = run.replace(text=dataclasses.replace(run.text, umt5=settings))
    if attention is not None:
        run = _with_attention(run, attention)
        attention_kernel(run.model)  # refuses one that is not of this machine
        return run
    try:
        attention_kernel(run.model)
    except UserError as error:
        log.warning("%s; that is what these weights edit with here", error)
        return _with_attention(run, "auto")
    return run


def override_sampler(sampler: SamplerConfig, **changes: Any) -> SamplerConfig:
    """The sampler with other fields; None keeps what is there.

    Explicit timesteps give way to `steps` and to `shift`, which say where others lie.

    Raises:
      UserError: a negative text without guidance, which nothing would read.
    """
    changes = {name: value for name, value in changes.items() if value is not None}
    if not changes:
        return sampler
    if changes.keys() & {"steps", "shift"}:
        changes.setdefault("timesteps", None)
    return check_negative(dataclasses.replace(sampler, **changes))


@contextlib.contextmanager
def naming_flag(what: str, flag: str) -> Iterator[None]:
    """Errors about a part that cannot be read say how to name another."""
    try:
        yield
    except UserError as error:
        raise UserError(
            f"the {what} of these weights cannot be read: {error}; if it is elsewhere, "
            f"name it with --{flag} (load_editor: {flag})"
        ) from error


def _with_attention(run: RunConfig, attention: str) -> RunConfig:
    return run.replace(model=dataclasses.replace(run.model, attention=attention))


def _of_kind(config: Any, kind: str, flag: str, what: str) -> Any:
    if config.kind != kind:
        raise UserError(
            f"{flag} names files of the {what} {kind!r}; these weights have the {what} "
            f"{config.kind!r}, which reads none: leave it out"
        )
    return getattr(config, kind)
