"""Losses as pure functions of predictions and targets (design 3.5), in float32."""

import jax
import jax.numpy as jnp

from anchoredit_jax.diffusion.schedule import match


def frame_errors(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared error of each frame, [B, T]."""
    return jnp.mean(jnp.square(prediction - target), axis=(2, 3, 4))


def changed_tokens(
    latents: jax.Array, before: jax.Array, patch: int, threshold: float
) -> jax.Array:
    """Which tokens the edits change: float32 [B, T, h/p, w/p], 0 for frame 0.

    A token is changed where ground-truth frame i and the frame it was edited from
    differ by more than `threshold` (root mean square over the token's latents).

    Args:
      latents: [B, T, h, w, C].
      before: what frames 1..T-1 were edited from, [B, T - 1 or 1, h, w, C].
    """
    tokens = _token_means(jnp.square(latents[:, 1:] - before), patch)
    changed = (tokens > threshold**2).astype(jnp.float32)
    return jnp.pad(changed, ((0, 0), (1, 0), (0, 0), (0, 0)))


def agreeing_tokens(
    latents: jax.Array, history: jax.Array, patch: int, threshold: float
) -> jax.Array:
    """Where the frame before is what it should be: float32 [B, T, h/p, w/p].

    Args:
      latents: the ground truth [B, T, h, w, C].
      history: what the network sees of the frames before, like latents.
      threshold: root mean square difference within which a token agrees.

    Returns:
      1 for tokens of frames 1..T-1 above which frame i - 1 agrees, 0 for frame 0.
    """
    apart = _token_means(jnp.square(history[:, :-1] - latents[:, :-1]), patch)
    agrees = (apart <= threshold**2).astype(jnp.float32)
    return jnp.pad(agrees, ((0, 0), (1, 0), (0, 0), (0, 0)))


def _token_means(values: jax.Array, patch: int) -> jax.Array:
    """[..., h, w, C] -> [..., h/p, w/p]."""
    *leading, height, width, channels = values.shape
    grid = (height // patch, patch, width // patch, patch, channels)
    return values.reshape(*leading, *grid).mean((-4, -2, -1))


def masked_tokens(mask: jax.Array, patch: int) -> jax.Array:
    """Tokens with any latent of a mask [B, T, h, w]: float32 [B, T, h/p, w/p]."""
    batch, frames, height, width = mask.shape
    tokens = mask.reshape(batch, frames, height // patch, patch, width // patch, patch)
    return tokens.max((3, 5)).astype(jnp.float32)


def token_errors(
    prediction: jax.Array, target: jax.Array, counted: jax.Array
) -> jax.Array:
    """Mean squared error over some tokens of each frame, [B, T]; 0 if there are none.

    Args:
      counted: [B, T, h/p, w/p], such as of `changed_tokens`.
    """
    patch = prediction.shape[2] // counted.shape[2]
    tokens = _token_means(jnp.square(prediction - target), patch)
    count = counted.sum((2, 3))
    return (tokens * counted).sum((2, 3)) / jnp.maximum(count, 1.0)


def hard_errors(
    prediction: jax.Array,
    target: jax.Array,
    patch: int,
    share: float,
    counted: jax.Array | None = None,
) -> jax.Array:
    """Mean squared error over the worst `share` of each frame's tokens, [B, T].

    Which tokens these are follows from the prediction: details that a plain mean hides,
    such as an object elsewhere that an instruction about another one disturbs.

    Args:
      counted: [B, T, h/p, w/p], 0 for tokens that are none of the worst; by default all
        may be.
    """
    tokens = _token_means(jnp.square(prediction - target), patch)
    if counted is not None:
        tokens = tokens * counted
    tokens = tokens.reshape(*tokens.shape[:2], -1)
    worst = max(1, round(share * tokens.shape[-1]))
    return jax.lax.top_k(tokens, worst)[0].mean(-1)


def turn_weights(frames: int, alpha: float) -> jax.Array:
    """1 + alpha p for frames 1..T-1 (p from 0 to 1 over them), 0 for frame 0; [T]."""
    rest = 1.0 + alpha * jnp.linspace(0.0, 1.0, frames - 1, dtype=jnp.float32)
    return jnp.concatenate([jnp.zeros(1), rest])


def weighted_mean(errors: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Per-sample sum(w e) / sum(w), and 1 where a sample has any weight; both [B]."""
    total = weights.sum(1)
    kept = (total > 0).astype(jnp.float32)
    return (errors * weights).sum(1) / jnp.where(total > 0, total, 1.0), kept


def distribution_matching(
    x0: jax.Array, real: jax.Array, fake: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The DMD loss per sample, and its normalised gradient.

    gradient = (fake - real) / mean|x0 - real|; loss = 0.5 mean((x0 - (x0 - g))^2) with
    the bracket held constant, so its gradient is g / numel.

    Args:
      x0, real, fake: [B, ...]; only x0 carries gradient.

    Returns:
      (loss [B], gradient [B, ...]).
    """
    axes = tuple(range(1, x0.ndim))
    frozen = jax.lax.stop_gradient(x0)
    scale = jnp.maximum(jnp.mean(jnp.abs(frozen - real), axis=axes), 1e-6)
    gradient = jax.lax.stop_gradient((fake - real) / match(scale, x0))
    goal = jax.lax.stop_gradient(frozen - gradient)
    return 0.5 * jnp.mean(jnp.square(x0 - goal), axis=axes), gradient
