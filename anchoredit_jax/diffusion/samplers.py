"""Few-step and guided Euler sampling of one frame, of any network given as a function.

All draws are arguments, so recorded ones can be replayed (design 3.6).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from anchoredit_jax.diffusion import schedule
from anchoredit_jax.errors import UserError

# (x [B, ...], timestep float32 scalar) -> velocity [B, ...]
Velocity = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """How a frame is drawn.

    Attributes:
      kind: "few_step" (predict x_0, re-noise with fresh noise) or "euler".
      steps: network evaluations per frame (twice that with guidance).
      shift: of the schedule.
      guidance: g in v_u + g (v_c - v_u); 1 is no guidance.
      timesteps: explicit timesteps (1000, 750, ..) instead of steps and shift.
    """

    kind: str = "few_step"
    steps: int = 4
    shift: float = 1.0
    guidance: float = 1.0
    timesteps: tuple[float, ...] | None = None

    def __post_init__(self):
        if self.kind not in ("few_step", "euler"):
            raise UserError(
                f"sampler kind must be few_step or euler, got {self.kind!r}"
            )
        if self.steps < 1 or self.shift <= 0:
            raise UserError(
                "a sampler needs steps >= 1 and shift > 0, "
                f"got steps {self.steps} and shift {self.shift}"
            )

    @property
    def sigmas(self) -> np.ndarray:
        """float32 [steps]."""
        if self.timesteps is not None:
            return np.asarray(self.timesteps, np.float32) / np.float32(1000)
        return schedule.make_sigmas(self.steps, self.shift)


def sample(velocity: Velocity, noise: jax.Array, config: SamplerConfig) -> jax.Array:
    """Draw x_0.

    Args:
      noise: [steps, B, ...]; few-step uses noise[0] to start and noise[i] to re-noise
        for step i, Euler uses noise[0] only.

    Returns:
      [B, ...].
    """
    return sample_path(velocity, noise, config)[0]


def sample_path(velocity: Velocity, noise: jax.Array, config: SamplerConfig):
    """`sample`, and what each step gave [steps, B, ...]: x_0 (few-step) or x (Euler)."""
    sigmas = jnp.asarray(config.sigmas)
    nexts = jnp.append(sigmas[1:], jnp.float32(0))
    # Euler needs one draw; the scan still wants one per step.
    fresh = (
        jnp.concatenate([noise[1:], noise[:1]])
        if len(noise) == len(sigmas)
        else (jnp.broadcast_to(noise[:1], (len(sigmas), *noise.shape[1:])))
    )

    def few_step(x, inputs):
        sigma, sigma_next, renoise = inputs
        each = jnp.full(x.shape[:1], sigma)
        x0 = schedule.velocity_to_x0(x, velocity(x, sigma * 1000), each)
        following = schedule.add_noise(x0, renoise, jnp.full(x.shape[:1], sigma_next))
        return following, x0  # after the last step sigma_next is 0: following is x_0

    def euler(x, inputs):
        sigma, sigma_next, _ = inputs
        each = jnp.full(x.shape[:1], 1.0)
        x = schedule.euler_step(
            x, velocity(x, sigma * 1000), each * sigma, each * sigma_next
        )
        return x, x

    step = few_step if config.kind == "few_step" else euler
    return lax.scan(step, noise[0], (sigmas, nexts, fresh))


def guide(conditional: jax.Array, unconditional: jax.Array, scale: float) -> jax.Array:
    """Classifier-free guidance, v_u + g (v_c - v_u): one convention everywhere."""
    return unconditional + scale * (conditional - unconditional)
