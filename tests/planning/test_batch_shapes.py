"""Shapes told by a configuration are those of the batches it makes."""

from anchoredit_jax.data.batches import open_steps
from anchoredit_jax.encoders import make_codec, make_text_encoder
from anchoredit_jax.planning.shapes import batch_shapes
from anchoredit_jax.testing import tiny_run


def test_shapes_and_dtypes_of_a_real_batch():
    run = tiny_run(
        "causal_forcing",
        model=dict(channels=16),
        text=dict(length=16, dim=8),
        data=dict(size=16, batch=3, turns=2),
    )
    codec, text = make_codec(run.codec), make_text_encoder(run.text)
    batch = open_steps(run.data, codec, text)[0]
    shapes = batch_shapes(run, 16, 16)
    assert shapes.keys() == batch.keys()
    for name, array in batch.items():
        assert (shapes[name].shape, shapes[name].dtype) == (array.shape, array.dtype)
    assert batch_shapes(run, 32, 16)["latents"].shape == (3, 3, 16, 8, 16)
