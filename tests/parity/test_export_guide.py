"""docs/export.md, word for word: its PyTorch edits as this package does."""

import contextlib
import dataclasses
import functools
import io
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from anchoredit_jax import turn
from anchoredit_jax.checkpoint import Lineage, digest, save_bundle
from anchoredit_jax.convert import (
    export_pipeline,
    export_weights,
    import_weights,
    open_weights,
)
from anchoredit_jax.convert.networks import NETWORKS
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.models.codec import from_uint8
from anchoredit_jax.session import load_editor
from anchoredit_jax.testing import tiny_run
from anchoredit_jax.trees import unflatten
from tests.convert import tiny_wan

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

GUIDE = Path(__file__).parents[2] / "docs" / "export.md"
TOLERANCE = 1e-4  # of frames with values about 1, in float32
TURNS = 5  # two more than a window of 2 remembers beside the source


def blocks():
    return re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.S | re.M)


@contextlib.contextmanager
def inside(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def random_bundle(folder, **sections):
    run = tiny_run("single_turn", **sections)
    rng = np.random.default_rng(0)
    flat = {
        name: (0.2 * rng.normal(size=leaf.shape)).astype(np.float32)
        for name, leaf in NETWORKS["transformer"].leaves(run.model).items()
    }
    params = unflatten(flat)
    lineage = Lineage("single_turn", 3, digest(params), run.to_dict())
    save_bundle(folder, params, run, lineage)
    return run, params


def ours(run, params, source, prompts, null, noise):
    """The frames of a session, [turns, h, w, C]."""
    model, sampler = run.model, run.sampler
    params, source, null = jax.tree.map(jnp.asarray, (params, source, null))
    common = functools.partial(jax.jit, static_argnums=0)
    start = common(
        lambda _, text: turn.start_memory(
            model, params, source[None], text[None], null, run.memory, sampler
        )
    )

    @common
    def one(_, memory, text, draws):
        frame = turn.denoise(
            model, params, memory, text[None], null, draws[:, None], sampler
        )
        return frame[0], turn.commit_frame(
            model, params, memory, frame, text[None], null, sampler
        )

    frames, memory = [], start(0, prompts[0])
    for text, draws in zip(prompts, noise, strict=True):
        frame, memory = one(0, memory, text, draws)
        frames.append(np.asarray(frame))
    return np.stack(frames)


TOY = dict(prediction="x0", spatial_stride=0.6, source_prompt="first_token")


@pytest.mark.parametrize(
    ("model", "memory", "sampler"),
    [
        (
            {},
            MemoryConfig(sink=1, window=2),
            SamplerConfig(kind="euler", steps=3, shift=5.0, guidance=3.0),
        ),
        (
            TOY,
            MemoryConfig(sink=2, window=1, positions="absolute"),
            SamplerConfig(timesteps=(1000.0, 750.0, 250.0)),
        ),
    ],
    ids=["wan", "toy"],
)
def test_frames_equal_ours(tmp_path, model, memory, sampler):
    sections = {
        "memory": dataclasses.asdict(memory),
        "sampler": dataclasses.asdict(sampler),
        "model": model,
    }
    run, params = random_bundle(tmp_path / "W", **sections)
    out = tmp_path / "editor"
    source = open_weights(tmp_path / "W")
    export_weights({"": source}, "diffusers", out, allow_loss=True)
    rng = np.random.default_rng(1)
    draw = functools.partial(rng.standard_normal, dtype=np.float32)
    size, text = (8, 6, run.model.channels), (4, run.model.text_dim)
    image, prompts, null = draw(size), draw((TURNS, *text)), draw(text)
    noise = draw((TURNS, run.sampler.draws, *size))
    expected = ours(run, params, image, prompts, null, noise)
    names: dict = {}
    with inside(tmp_path):
        exec(blocks()[0], names)
    got = names["editor"].edit(
        torch.from_numpy(np.moveaxis(image, -1, 0).copy()),
        torch.from_numpy(prompts),
        torch.from_numpy(null),
        torch.from_numpy(np.moveaxis(noise, -1, 2).copy()),
    )
    deviation = np.abs(np.moveaxis(got.numpy(), 1, -1) - expected).max()
    print(f"edited in PyTorch: largest deviation {deviation:.1e}")
    assert deviation < TOLERANCE * max(1.0, np.abs(expected).max())
    assert np.abs(expected[1:] - expected[:-1]).max() > 0.1  # it is no constant


def test_a_pipeline_opens_and_edits_as_ours(tmp_path, monkeypatch):
    from diffusers import DiffusionPipeline, WanPipeline

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tiny_wan.register(monkeypatch)
    folder = tiny_wan.write_pipeline(tmp_path / "src")
    file = folder / "vae" / NETWORKS["vae"].files["diffusers"]
    # Random weights as large as the tiny pipeline's make a hundredfold of a rounding.
    save_file({n: np.float32(0.3) * x for n, x in load_file(file).items()}, file)
    import_weights(open_weights(folder), tmp_path / "W")
    export_pipeline(open_weights(tmp_path / "W"), tmp_path / "all")
    with contextlib.redirect_stderr(io.StringIO()):
        opened = DiffusionPipeline.from_pretrained(tmp_path / "all")
    assert isinstance(opened, WanPipeline)
    assert opened.scheduler.config.shift == 5.0

    editor = load_editor(tmp_path / "W")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    words = ("make it blue", "", "make it")
    session = editor.start(pixels, seed=7)
    for word in words:
        session.edit(word)
    made = session.history[1:]
    expected = [np.asarray(editor.codec.decode(t.latent))[0] for t in made]
    shape = made[0].latent.shape[1:]
    noise = np.stack(
        [
            np.asarray(
                editor.programs.noise(
                    np.array([t.seed], np.uint32),
                    np.array([t.number], np.uint32),
                    shape,
                )[1]
            )[:, 0]
            for t in made
        ]
    )
    names: dict = {}
    with inside(tmp_path):
        code = blocks()[0].replace(
            'Editor("editor", "editor/', 'Editor("all/transformer", "all/'
        )
        exec(code, names)
        exec(blocks()[1], names)
        image = from_uint8(session.history[0].pixels)
        latents = names["encode"](
            torch.from_numpy(np.moveaxis(np.array(image), -1, 0).copy())
        )
        frames = names["editor"].edit(
            latents,
            [names["embed"](word) for word in words],
            names["embed"](""),
            torch.from_numpy(np.moveaxis(noise, -1, 2).copy()),
        )
        deviations = []
        for got, wanted in zip(frames, expected, strict=True):
            image = np.moveaxis(names["decode"](got).numpy(), 0, -1)
            deviations.append(np.abs(image - wanted).max())
        print(f"edited by a pipeline: largest deviation {max(deviations):.1e}")
        assert max(deviations) < TOLERANCE
        assert np.abs(expected[0] - expected[1]).max() > 0.01  # it is no constant
