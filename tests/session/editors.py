"""A tiny editor and what tests of sessions ask of it."""

import types

import jax
import numpy as np

from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.data.buckets import BucketConfig
from anchoredit_jax.data.config import DataConfig, SessionsConfig
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.models.codec import CodecConfig, PatchCodec
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.text import NgramTextEncoder
from anchoredit_jax.session import Editor, EditSession

MODEL = TransformerConfig(
    dim=32, ffn_dim=32, num_heads=2, num_layers=2, channels=16, text_dim=8, freq_dim=8
)
PROMPTS = ("make it blue", "add a hat", "", "remove the hat", "make it red", "go on")
SOURCE = np.random.default_rng(0).integers(0, 256, (20, 16, 3), np.uint8)


class CountingCodec(PatchCodec):
    encoded = 0

    def encode(self, images):
        self.encoded += 1
        return super().encode(images)


def make_run(**data) -> types.SimpleNamespace:
    """What an editor reads of a run that was trained on such data."""
    return types.SimpleNamespace(
        model=MODEL, codec=CodecConfig(), data=DataConfig(**data)
    )


def bucketed_run(size: int, **buckets) -> types.SimpleNamespace:
    """Of a run that was trained on prepared sessions of all shapes."""
    sessions = SessionsConfig(
        path="prepared", layout="pairs", buckets=BucketConfig(**buckets)
    )
    return make_run(kind="sessions", size=size, sessions=sessions)


def make_editor(params, **changes) -> Editor:
    values = dict(
        params=params,
        run=make_run(size=16),
        codec=CountingCodec(2),
        text=NgramTextEncoder(length=6, dim=8),
        memory=MemoryConfig(sink=1, window=2),
        sampler=SamplerConfig(steps=2),
        lineage=Lineage("consistency", 7, "0123456789abcdef", {}),
    )
    return Editor(**{**values, **changes})


def edited(editor, prompts=PROMPTS, **options) -> EditSession:
    session = editor.start(SOURCE, **options)
    for prompt in prompts:
        session.edit(prompt)
    return session


def assert_equal_turns(a, b):
    """Equal in every bit: instructions, pixels, latents and memories."""
    assert len(a) == len(b)
    for left, right in zip(a, b, strict=True):
        assert (left.number, left.instruction) == (right.number, right.instruction)
        np.testing.assert_array_equal(left.pixels, right.pixels)
        for x, y in zip(
            jax.tree.leaves((left.latent, left.memory)),
            jax.tree.leaves((right.latent, right.memory)),
            strict=True,
        ):
            np.testing.assert_array_equal(x, y)
