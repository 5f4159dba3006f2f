"""Which remembered frames a turn attends to, and where in them.

Read off the pass that commits the turn's finished frame (timestep 0): the attention
weights of its tokens over the keys of the memory and over its own. Meant for looking: a
layer's whole weights are formed, which the kernels of docs/method.md never do.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from anchoredit_jax import memory as memories
from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import MemoryView
from anchoredit_jax.models import rope
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.transformer import Transformer
from anchoredit_jax.session.edit_session import EditSession
from anchoredit_jax.session.turns import embed


class MemoryReading(NamedTuple):
    """What a turn's frame attended to.

    Attributes:
      frames: numbers of the remembered frames, in order, then the turn's own.
      weights: float32 [layers, frames, h, w]: the share of a layer's attention, a mean
        over heads and over the frame's tokens, that each token of each frame got; a
        layer's sum is 1. h and w count tokens.
    """

    frames: tuple[int, ...]
    weights: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """The share of all attention that each frame got: [frames], of sum 1."""
        return self.weights.sum((2, 3)).mean(0)


def read_memory(session: EditSession, number: int) -> MemoryReading:
    """What turn `number` of a session attended to.

    Raises:
      UserError: no such turn, or the source, which remembers nothing.
    """
    if not 1 <= number < len(session.turns):
        raise UserError(
            f"turn {number} has no memory to look into: this session has the turns 1 "
            f"to {len(session.turns) - 1}"
        )
    before, turn = session.turns[number - 1 : number + 1]
    editor, text = session.editor, embed(session.editor, turn.instruction or "")
    memory = before.memory
    if memory is None:  # the source is committed under the first instruction
        memory = editor.programs.start(editor.params, before.latent, text)
    past = _first(memories.view(memory))
    model, (height, width) = editor.run.model, turn.latent.shape[1:3]
    weights = np.asarray(
        _weights(model, editor.params, past, turn.latent, text), np.float32
    )  # [layers, slots + 1, L]
    slots = np.asarray(memory.frames[0])
    kept = [slot for slot in np.argsort(slots) if slots[slot] >= 0]
    grid = (height // model.patch, width // model.patch)
    chosen = weights[:, [*kept, len(slots)]]
    return MemoryReading(
        frames=(*(int(slots[slot]) for slot in kept), number),
        weights=chosen.reshape(*chosen.shape[:2], *grid),
    )


def _first(past: MemoryView) -> MemoryView:
    """The conditional session's, where guidance keeps another one beside it."""
    return MemoryView(
        keys=past.keys[:, :1],
        values=past.values[:, :1],
        valid=past.valid[:1],
        positions=past.positions[:1],
        next_position=past.next_position[:1],
    )


@functools.partial(jax.jit, static_argnums=0)
def _weights(
    model: TransformerConfig, params: Any, past: MemoryView, latent: Any, text: Any
) -> jax.Array:
    """[layers, P + 1, L], the turn's own frame last."""
    (_, (own, _)), kept = Transformer(model).apply(
        {"params": params},
        latent[:, None],
        jnp.zeros((1, 1)),
        text[:, None],
        past=past,
        source=False,
        collect=True,
        capture_intermediates=lambda module, _: module.name == "norm_q",
        mutable=["intermediates"],
    )
    (query,) = kept["intermediates"]["blocks"]["self_attn"]["norm_q"]["__call__"]
    query = query.reshape(own.shape)  # [layers, 1, 1, L, N, H]
    grid = (latent.shape[1] // model.patch, latent.shape[2] // model.patch)

    def rotate(keys: jax.Array, frames_at: jax.Array) -> jax.Array:
        stretched = frames_at.astype(jnp.float32) * model.temporal_stride
        rotation = rope.rotations(
            stretched, *grid, model.head_dim, model.spatial_stride
        )
        return rope.rotate(keys, *rotation)

    here = past.next_position[:, None]
    valid = jnp.append(past.valid[0], True)

    def of_layer(parts: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        query, own, old = parts
        keys = jnp.concatenate([rotate(old, past.positions), rotate(own, here)], 1)
        logits = jnp.einsum(
            "lnh,fmnh->nlfm", rotate(query, here)[0, 0], keys[0],
            preferred_element_type=jnp.float32,
        ) * jnp.float32(model.head_dim**-0.5)  # fmt: skip
        logits = jnp.where(valid[:, None], logits, -jnp.inf)
        return jax.nn.softmax(logits, axis=(-2, -1)).mean((0, 1))

    return jax.lax.map(of_layer, (query, own, past.keys))
