"""Per-frame training timesteps: pure in the uniform draws it is given.

See docs/method.md, Timesteps.
"""

import dataclasses

import jax.numpy as jnp

from anchoredit_jax.arrays import Array, Float
from anchoredit_jax.diffusion.schedule import TIMESTEPS, shift_sigma
from anchoredit_jax.strict import Bounded, FieldError, result


@dataclasses.dataclass(frozen=True)
class TimestepConfig(Bounded, place="options.timesteps"):
    """How noisy each frame of a training sequence is.

    Attributes:
      lower_min, lower_max: range of the per-sample lower bound u_low (the reference's
        first_frame_noise_min_ratio and .._max_ratio).
      last_min: the per-sample bound u_last of the last frame is at least this (the
        reference's u_last_max_min_ratio).
      shift: flow shift of u_last, and of u itself where `shift_frames`.
      monotonic: later frames may be noisier: u_up grows with the frame's position.
      minimum, maximum: the timestep range that u in [0, 1] is mapped to.
      truncate: whole timesteps, as in the reference.
      shift_frames: map every frame's u by `shift` instead of u_last.
    """

    lower_min: float = result(0.0, within="[0, 1]")
    lower_max: float = result(0.3, within="[0, 1]")
    last_min: float = result(0.0, within="[0, 1]")
    shift: float = result(1.0, within="(0, 1000]")
    monotonic: bool = result(False)
    minimum: float = result(20.0, within="[0, 1000]")
    maximum: float = result(980.0, within="[0, 1000]")
    truncate: bool = result(False)
    shift_frames: bool = result(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for least, most in (("lower_min", "lower_max"), ("minimum", "maximum")):
            if not getattr(self, least) <= getattr(self, most):
                raise FieldError(
                    self,
                    least,
                    f"must be at most {most}, given {getattr(self, least)} and "
                    f"{getattr(self, most)}",
                )


def relative_positions(frames: int, monotonic: bool) -> Float[Array, " {frames}"]:
    """p_i: 0..1 along the sequence when monotonic, else all 1."""
    if monotonic and frames > 1:
        return jnp.linspace(0.0, 1.0, frames, dtype=jnp.float32)
    return jnp.ones(frames, jnp.float32)


def frame_timesteps(
    last: Float[Array, " B"],
    lower: Float[Array, " B"],
    frame: Float[Array, "B T"],
    config: TimestepConfig,
) -> Float[Array, "B T"]:
    """Timesteps from uniforms of each sample and of each frame."""
    last = config.last_min + (1.0 - config.last_min) * last
    if config.shift != 1.0 and not config.shift_frames:
        last = shift_sigma(last, config.shift)
    span = config.lower_max - config.lower_min
    lower = jnp.minimum(config.lower_min + span * lower, last)
    base = jnp.minimum(jnp.maximum(lower + 1e-4, config.lower_max), last)
    position = relative_positions(frame.shape[1], config.monotonic)[None]
    upper = base[:, None] + (last - base)[:, None] * position
    u = jnp.clip(lower[:, None] + (upper - lower[:, None]) * frame, 0.0, 1.0)
    if config.shift_frames:
        u = shift_sigma(u, config.shift)
    timesteps = config.minimum + u * (config.maximum - config.minimum)
    if config.truncate:
        timesteps = jnp.clip(jnp.floor(timesteps), config.minimum, config.maximum - 1.0)
    return jnp.minimum(timesteps, TIMESTEPS)
