"""Flow matching: schedule, samplers, timesteps, degradation. Knows no network."""

from anchoredit_jax.diffusion.samplers import SamplerConfig

__all__ = ["SamplerConfig"]
