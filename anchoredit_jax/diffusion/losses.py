"""Losses as pure functions of predictions and targets, in float32.

See docs/method.md, Losses.
"""

import einops
import jax
import jax.numpy as jnp

from anchoredit_jax.arrays import Array, Float, Shaped
from anchoredit_jax.diffusion.schedule import match

Latents = Float[Array, "B T h w C"]
Tokens = Float[Array, "B T rows columns"]


def frame_errors(prediction: Latents, target: Latents) -> Float[Array, "B T"]:
    """The mean squared error of each frame."""
    return jnp.mean(jnp.square(prediction - target), axis=(2, 3, 4))


def changed_tokens(
    latents: Latents,
    before: Float[Array, "B _ h w C"],
    patch: int,
    threshold: float,
) -> Tokens:
    """Mark the tokens that the edits change: 1, else 0, which frame 0 is altogether.

    A token is changed where ground-truth frame i and the frame it was edited from
    differ by more than `threshold` (root mean square over the token's latents).

    Args:
      latents: the ground truth.
      before: what frames 1..T-1 were edited from, each or (one frame) all.
      patch: side of the square of latents that makes a token.
      threshold: the difference of a token that is changed.
    """
    tokens = _token_means(jnp.square(latents[:, 1:] - before), patch)
    changed = (tokens > threshold**2).astype(jnp.float32)
    return jnp.pad(changed, ((0, 0), (1, 0), (0, 0), (0, 0)))


def agreeing_tokens(
    latents: Latents, history: Latents, patch: int, threshold: float
) -> Tokens:
    """Mark where the frame before is what it should be.

    Args:
      latents: the ground truth.
      history: what the network sees of the frames before.
      patch: side of the square of latents that makes a token.
      threshold: root mean square difference within which a token agrees.

    Returns:
      1 for tokens of frames 1..T-1 above which frame i - 1 agrees, 0 for frame 0.
    """
    apart = _token_means(jnp.square(history[:, :-1] - latents[:, :-1]), patch)
    agrees = (apart <= threshold**2).astype(jnp.float32)
    return jnp.pad(agrees, ((0, 0), (1, 0), (0, 0), (0, 0)))


def _token_means(values: Float[Array, "B _ h w C"], patch: int) -> Tokens:
    """The mean over each token."""
    tokens = "b t (h p) (w q) c -> b t h w"
    return einops.reduce(values, tokens, "mean", p=patch, q=patch)


def masked_tokens(mask: Shaped[Array, "B T h w"], patch: int) -> Tokens:
    """1 for the tokens with any latent of a mask, else 0."""
    tokens = "b t (h p) (w q) -> b t h w"
    mask = einops.reduce(mask, tokens, "max", p=patch, q=patch)
    return mask.astype(jnp.float32)


def token_errors(
    prediction: Latents, target: Latents, counted: Tokens
) -> Float[Array, "B T"]:
    """The mean squared error over some tokens of each frame; 0 if there are none.

    Args:
      prediction, target: what is compared.
      counted: 1 for these tokens, such as of `changed_tokens`.
    """
    patch = prediction.shape[2] // counted.shape[2]
    tokens = _token_means(jnp.square(prediction - target), patch)
    count = counted.sum((2, 3))
    return (tokens * counted).sum((2, 3)) / jnp.maximum(count, 1.0)


def hard_errors(
    prediction: Latents,
    target: Latents,
    patch: int,
    share: float,
    counted: Tokens | None = None,
) -> Float[Array, "B T"]:
    """The mean squared error over the worst `share` of each frame's tokens.

    Which tokens these are follows from the prediction: details that a plain mean hides,
    such as an object elsewhere that an instruction about another one disturbs.

    Args:
      prediction, target: what is compared.
      patch: side of the square of latents that makes a token.
      share: of the tokens, more than 0 and at most 1.
      counted: 0 for tokens that are none of the worst; by default all may be.
    """
    tokens = _token_means(jnp.square(prediction - target), patch)
    if counted is not None:
        tokens = tokens * counted
    tokens = tokens.reshape(*tokens.shape[:2], -1)
    worst = max(1, round(share * tokens.shape[-1]))
    return jax.lax.top_k(tokens, worst)[0].mean(-1)


def turn_weights(frames: int, alpha: float) -> Float[Array, " {frames}"]:
    """1 + alpha p for frames 1..T-1 (p from 0 to 1 over them), 0 for frame 0."""
    rest = 1.0 + alpha * jnp.linspace(0.0, 1.0, frames - 1, dtype=jnp.float32)
    return jnp.concatenate([jnp.zeros(1), rest])


def weighted_mean(
    errors: Float[Array, "B T"], weights: Float[Array, "_ T"]
) -> tuple[Float[Array, " B"], Float[Array, " _"]]:
    """Each sample's sum(w e) / sum(w), and 1 where it has any weight, else 0."""
    total = weights.sum(1)
    kept = (total > 0).astype(jnp.float32)
    return (errors * weights).sum(1) / jnp.where(total > 0, total, 1.0), kept


def distribution_matching(
    x0: Float[Array, " B *shape"],
    real: Float[Array, " B *shape"],
    fake: Float[Array, " B *shape"],
) -> tuple[Float[Array, " B"], Float[Array, " B *shape"]]:
    """The DMD loss per sample, and its normalised gradient.

    gradient = (fake - real) / mean|x0 - real|; loss = 0.5 mean((x0 - (x0 - g))^2) with
    the bracket held constant, so its gradient is g / numel.

    Args:
      x0, real, fake: only x0 carries gradient.
    """
    axes = tuple(range(1, x0.ndim))
    frozen = jax.lax.stop_gradient(x0)
    scale = jnp.maximum(jnp.mean(jnp.abs(frozen - real), axis=axes), 1e-6)
    gradient = jax.lax.stop_gradient((fake - real) / match(scale, x0))
    goal = jax.lax.stop_gradient(frozen - gradient)
    return 0.5 * jnp.mean(jnp.square(x0 - goal), axis=axes), gradient
