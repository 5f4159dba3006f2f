"""Editors that the tests of sessions share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.models.transformer import Transformer
from tests.session.editors import MODEL, make_editor


@pytest.fixture(scope="session")
def params():
    """Random, larger than at the start of training, so that every input matters."""
    shapes = ((1, 2, 8, 8, 16), (1, 2), (1, 1, 6, 8))
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    tree = jax.eval_shape(Transformer(MODEL).init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * rng.standard_normal(leaf.shape), jnp.float32),
        tree["params"],
    )


# Compiling is what takes time here: most tests share one of these two editors.
@pytest.fixture(scope="session")
def editor(params):
    return make_editor(params)


@pytest.fixture(scope="session")
def full_editor(editor):
    return editor.with_settings(memory=MemoryConfig(window=None), max_turns=6)
