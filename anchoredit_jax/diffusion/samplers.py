"""Few-step and guided Euler sampling of one frame, of any network given as a function.

All draws are arguments, so recorded ones can be replayed (docs/method.md, Samplers).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from anchoredit_jax.arrays import Array, Float, Int
from anchoredit_jax.choices import SAMPLERS
from anchoredit_jax.diffusion import schedule
from anchoredit_jax.errors import UserError
from anchoredit_jax.strict import Bounded, FieldError, result

# (x [B, ...], timestep float32 scalar) -> velocity [B, ...]
Velocity = Callable[[Array, Array], Array]
_QUARTERS = 4  # of a sampler with more steps, where noise levels are told apart


@dataclasses.dataclass(frozen=True)
class SamplerConfig(Bounded):
    """How a frame is drawn.

    Attributes:
      kind: "few_step" (predict x_0, re-noise with fresh noise) or "euler".
      steps: network evaluations per frame (twice that with guidance).
      shift: moves the schedule's sigmas towards noise.
      guidance: g in v_u + g (v_c - v_u); 1 is no guidance.
      negative: the text of the unconditional branch v_u, "" for the null instruction.
      timesteps: explicit timesteps (1000, 750, ..) instead of steps and shift.
      snap_shift: see `schedule.sigma_at`; for parity, with explicit timesteps.
    """

    kind: str = result("few_step", within=SAMPLERS)
    steps: int = result(4, within="[1, 1000]")
    shift: float = result(1.0, within="(0, 1000]")
    guidance: float = result(1.0, within="[-1000, 1000]")
    timesteps: tuple[float, ...] | None = result(None, within="(0, 1000]")
    snap_shift: float | None = result(None, within="(0, 1000]")
    negative: str = result("")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.timesteps is not None and not 1 <= len(self.timesteps) <= 1000:
            raise FieldError(
                self,
                "timesteps",
                f"must be 1 to 1000 numbers, given {len(self.timesteps)}: leave them "
                "out, and steps and shift count",
            )

    @property
    def schedule(
        self,
    ) -> tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"]]:
        """(timesteps, sigmas) of the steps, in float32."""
        if self.timesteps is None:
            sigmas = schedule.make_sigmas(self.steps, self.shift)
            return sigmas * np.float32(schedule.TIMESTEPS), sigmas
        timesteps = np.asarray(self.timesteps, np.float32)
        with jax.ensure_compile_time_eval():
            sigmas = schedule.sigma_at(timesteps, self.snap_shift)
        return timesteps, np.asarray(sigmas)

    @property
    def draws(self) -> int:
        """Noise images that a frame takes."""
        return 1 if self.kind == "euler" else len(self.schedule[0])


def asked_levels(config: SamplerConfig) -> Float[np.ndarray, " levels"]:
    """The sampler's timesteps, descending; of one with many steps those of four."""
    levels = config.schedule[0]
    if len(levels) > _QUARTERS and config.timesteps is None:
        levels = schedule.make_sigmas(_QUARTERS, config.shift) * schedule.TIMESTEPS
    return np.asarray(levels)


def noise_intervals(config: SamplerConfig) -> tuple[tuple[float, float], ...]:
    """(low, high) of each interval from one of `asked_levels` down to the next, the
    highest first; the first reaches up to pure noise, the last down to 0."""
    lows = [*asked_levels(config)[1:].tolist(), 0.0]
    return tuple(zip(lows, [schedule.TIMESTEPS, *lows[:-1]], strict=True))


def check_negative(config: SamplerConfig) -> SamplerConfig:
    """The sampler, if something reads its negative text.

    Raises:
      UserError: nothing does.
    """
    if config.negative and config.guidance == 1.0:
        raise UserError(
            "a negative text is what guidance leads away from, and guidance is 1, none "
            f"at all: give guidance too, or leave the text {config.negative!r} out"
        )
    return config


def sample(
    velocity: Velocity, noise: Float[Array, " draws *shape"], config: SamplerConfig
) -> tuple[Float[Array, "*shape"], Float[Array, " steps *shape"]]:
    """Draw a frame, x_0, along all steps of the sampler.

    Args:
      velocity: of x, at a timestep.
      noise: noise[0] starts, few-step re-noises for step i with noise[i].
      config: the sampler, which takes that many draws.

    Returns:
      (x_0, what each step gave: x_0 (few-step) or x (Euler)).
    """
    step, inputs = _step_of(velocity, noise, config)
    return lax.scan(step, noise[0], inputs)


def sample_steps(
    velocity: Velocity,
    x: Float[Array, "*shape"],
    noise: Float[Array, " draws *shape"],
    first: Int[Array, ""] | int,
    last: Int[Array, ""] | int,
    config: SamplerConfig,
) -> Float[Array, "*shape"]:
    """Some of `sample`'s steps. Their numbers are traced: one program takes them all at
    once or one at a time, with the same bits.

    Args:
      velocity: of x, at a timestep.
      x: where step `first` starts: at first noise[0].
      noise: as `sample` takes it.
      first, last: the steps are first .. last - 1.
      config: the sampler.

    Returns:
      where step `last` starts; after all steps, x_0.
    """
    step, inputs = _step_of(velocity, noise, config)

    def one(index: Int[Array, ""], x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return step(x, jax.tree.map(lambda values: values[index], inputs))[0]

    return lax.fori_loop(first, last, one, x)


def _step_of(
    velocity: Velocity, noise: Float[Array, " draws *shape"], config: SamplerConfig
) -> tuple[Callable, tuple[Array, ...]]:
    """A step (x, inputs) -> (x, what it gave), and the inputs of all, stacked."""
    timesteps, sigmas = config.schedule
    nexts = np.append(sigmas[1:], np.float32(0))
    batch = noise.shape[1:2]

    def few_step(x: Array, inputs: tuple) -> tuple[Array, Array]:
        timestep, sigma, sigma_next, renoise = inputs
        x0 = schedule.velocity_to_x0(x, velocity(x, timestep), jnp.full(batch, sigma))
        following = schedule.add_noise(x0, renoise, jnp.full(batch, sigma_next))
        return following, x0

    def euler(x: Array, inputs: tuple) -> tuple[Array, Array]:
        timestep, sigma, sigma_next = inputs
        x = schedule.euler_step(
            x,
            velocity(x, timestep),
            jnp.full(batch, sigma),
            jnp.full(batch, sigma_next),
        )
        return x, x

    inputs = tuple(jnp.asarray(x) for x in (timesteps, sigmas, nexts))
    if config.kind == "euler":
        return euler, inputs
    # The last step re-noises to sigma 0: any draw serves, its result is x_0.
    return few_step, (*inputs, jnp.roll(noise, -1, axis=0))


def guide(
    conditional: Float[Array, "*shape"],
    unconditional: Float[Array, "*shape"],
    scale: float,
) -> Float[Array, "*shape"]:
    """Classifier-free guidance, v_u + g (v_c - v_u): one convention everywhere."""
    return unconditional + scale * (conditional - unconditional)
