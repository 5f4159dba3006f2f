"""Prompts to embeddings by the UMT5 encoder, as the Wan transformer expects them."""

import functools
import threading
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anchoredit_jax.arrays import Array, Float, Int
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.tokenizer import PromptTokenizer
from anchoredit_jax.models.umt5 import Umt5Config, Umt5Encoder

# Prompts remembered by an encoder; one of 20 tokens at width 4096 takes 320 KiB.
REMEMBERED = 512


@functools.partial(jax.jit, static_argnums=0)
def embed_prompts(
    config: Umt5Config,
    params: Any,
    ids: Int[Array, "B S"],
    lengths: Int[Array, " B"],
) -> Float[Array, "B S D"]:
    """Token ids -> what the transformer receives: zero vectors after a prompt's end.

    Args:
      params: the parameters of `Umt5Encoder(config)`.
      ids: of the prompts' tokens.
      lengths: tokens of each prompt, the end token included.
    """
    mask = jnp.arange(ids.shape[1])[None] < lengths[:, None]
    hidden = Umt5Encoder(config).apply({"params": params}, ids, mask)
    return jnp.where(mask[..., None], jnp.asarray(hidden), 0.0)


class Umt5TextEncoder:
    """UMT5 and its tokenizer behind the `TextEncoder` protocol.

    "", the null instruction, is not all zeros here: as in Wan it is the embedding of
    the tokenised empty string, one vector for the end token, then zero vectors.

    Prompts are encoded in batches of one size, filled up with empty ones, so one
    program serves every prompt; a prompt seen before is remembered.

    Attributes:
      length, dim: S and Dt of an embedding.
      params: the encoder's parameters, a pytree that `embed_prompts` takes.
    """

    def __init__(
        self,
        config: Umt5Config,
        params: Any,
        tokenizer: PromptTokenizer,
        batch: int = 1,
    ) -> None:
        """
        Args:
          batch: prompts encoded at once.

        Raises:
          UserError: the tokenizer has ids that the encoder has no embedding for, or the
            batch is empty.
        """
        if tokenizer.vocabulary > config.vocabulary:
            raise UserError(
                f"the tokenizer has {tokenizer.vocabulary} tokens, the text encoder "
                f"embeddings for {config.vocabulary}: they are not of one model"
            )
        if batch < 1:
            raise UserError(f"the text encoder's batch must be at least 1, got {batch}")
        self.length = tokenizer.length
        self.dim = config.dim
        self.params = params
        self._config = config
        self._tokenizer = tokenizer
        self._batch = batch
        self._remembered: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()  # batches are made in threads

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """n prompts -> float32 [n, S, Dt], zero vectors after each prompt's end.

        Too long a prompt is cut with a warning, see `PromptTokenizer.encode`.
        """
        out = np.zeros((len(texts), self.length, self.dim), np.float32)
        with self._lock:
            new = [text for text in dict.fromkeys(texts) if not self._knows(text)]
            known = {t: self._remembered[t] for t in texts if self._knows(t)}
            for start in range(0, len(new), self._batch):
                chunk = new[start : start + self._batch]
                known.update(zip(chunk, self._embed(chunk), strict=True))
            for text in new:
                self._remembered[text] = known[text]
            while len(self._remembered) > REMEMBERED:  # the oldest goes first
                del self._remembered[next(iter(self._remembered))]
        for row, text in zip(out, texts, strict=True):
            row[: len(known[text])] = known[text]
        return out

    def cut_off(self, text: str) -> str:
        """The end of a prompt that is not read; "" if all of it is."""
        return self._tokenizer.cut_off(text)

    def _knows(self, text: str) -> bool:
        return text in self._remembered

    def _embed(self, texts: list[str]) -> list[np.ndarray]:
        """Embed at most a batch of prompts: float32 [tokens, Dt] of each."""
        filled = [*texts, *[""] * (self._batch - len(texts))]
        ids, lengths = self._tokenizer.encode(filled)
        embedded = jax.device_get(
            embed_prompts(self._config, self.params, *jax.device_put((ids, lengths)))
        )
        return [row[:n].copy() for row, n in zip(embedded, lengths, strict=True)][
            : len(texts)
        ]
