"""The recorded latent degradations, draw by draw."""

import jax.numpy as jnp
import numpy as np

from anchoredit_jax.diffusion.degradation import DegradeConfig, DegradeDraws, degrade

from .conftest import channels_last


def per_frame(arrays, name, shape):
    """[B, T, 1, 1, 1] uniforms as [B, T]; ones (never on) where none were drawn."""
    return arrays[name][..., 0, 0, 0] if name in arrays else np.ones(shape, np.float32)


def draws_of(arrays, name, latents):
    batch, frames, height, width, channels = latents.shape
    shape = (batch, frames)

    def get(key, default):
        return arrays.get(f"{name}/{key}", np.full(default, 0.5, np.float32))

    rows, columns = max(2, height // 16), max(2, width // 16)
    field = get("rand_low", (batch * frames, channels, rows, columns))
    field = np.moveaxis(field, 1, -1).reshape(batch, frames, rows, columns, channels)
    masks = {
        kind: per_frame(arrays, f"{name}/rand_mask_{theirs}", shape)
        for kind, theirs in (
            ("colour", "color"), ("low_frequency", "lowfreq"), ("block", "block"),
            ("laplace", "laplace"), ("blur", "blur"), ("round_trip", "vae"),
        )
    }  # fmt: skip
    sigma = arrays.get(f"{name}/blur_sigma", np.float32(0.5))
    index = arrays.get(f"{name}/block_index", np.zeros(1))
    return DegradeDraws(
        strength=per_frame(arrays, f"{name}/rand_pos", shape),
        on=masks,
        scale=get("rand_color_scale", (*shape, channels, 1, 1))[..., 0, 0],
        bias=get("rand_color_bias", (*shape, channels, 1, 1))[..., 0, 0],
        field=field,
        amplitude=per_frame(arrays, f"{name}/rand_low_amp", shape),
        block_index=np.full(batch, np.ravel(index)[0], np.int32),
        laplace=channels_last(get("rand_laplace", (*shape, channels, height, width))),
        blur_sigma=np.full(batch, np.ravel(sigma)[0], np.float32),
    )


def test_every_case(golden):
    arrays, meta = golden("degrade")
    for name, case in meta["cases"].items():
        source, _, cut = case["input"].partition("[")
        latents = channels_last(arrays[source])
        latents = latents[:1] if cut else latents
        config = DegradeConfig(
            colour=case["p_color"],
            colour_scale=case["color_scale_eps"],
            colour_bias=case["color_bias_eps"],
            low_frequency=case["p_lowfreq"],
            low_frequency_amplitude=case["lowfreq_amp_max"],
            block=case["p_block"],
            block_sizes=tuple(case["block_sizes"]),
            laplace=case["p_laplace"],
            laplace_scale=case["laplace_b_max"],
            blur=case["p_blur"],
            blur_sigma=case["blur_sigma_max"],
            lower=case["degrade_lower_frac"],
            monotonic=case["monotonic_degradation"],
            blur_padding="zero",
        )
        got = degrade(jnp.asarray(latents), draws_of(arrays, name, latents), config)
        deviation = np.abs(got - channels_last(arrays[f"{name}/output"])).max()
        print(f"{name}: largest deviation {deviation:.1e}")
        assert deviation < 5e-4, name
