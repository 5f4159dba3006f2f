"""Folders of small images and lists, for the tests of the benchmark builder."""

import json

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.errors import ProblemsError
from benchmarks.session_builder.build import build_benchmark
from benchmarks.session_builder.settings import BenchmarkSettings

SMALL = BenchmarkSettings(min_side=16)
SIZE = (8, 8)

TXT = """\
# ten turns

[local] make the coat red
[global]  make it a rainy night
add a straw hat
[return 1] undo the hat and the rain
[undo] undo the last change
[null]
[LOCAL] blue shoes
[local] a green scarf
[Return 0] go back to the original image
[global] [undo] undo that
"""
RETURNS = (None, None, None, 1, 3, None, None, None, 0, 8)

POOL = "\n".join(
    [f"[local] local edit {n}" for n in range(12)]
    + [f"[global] global edit {n}" for n in range(6)]
    + ["[undo] undo the last change", "[return 0] go back to the original image"]
    + ["[return any] go back to the picture after edit {turn}"]
)


def pixels(seed, width=20, height=16):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, seed=0, **options):
    Image.fromarray(pixels(seed)).save(path, **options)
    return path


def photos(root, names=("cat", "dog"), text=TXT):
    """A folder of images, a list beside each; without lists if `text` is None."""
    root.mkdir()
    for seed, name in enumerate(names):
        save(root / f"{name}.png", seed)
        if text is not None:
            (root / f"{name}.txt").write_text(text, encoding="utf-8")
    return root


def files(root):
    """Every file below a folder and its bytes."""
    found = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def write_session(root, name, images, document):
    """A session folder: `images` by number, pixels or bytes; a document if any."""
    folder = root / name
    folder.mkdir(parents=True)
    for number, image in images.items():
        path = folder / f"{name}.{number}.png"
        if isinstance(image, bytes):
            path.write_bytes(image)
        else:
            Image.fromarray(image).save(path)
    if document is not None:
        (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


def refused(root, out, settings=SMALL, **options):
    """All problems; nothing was written, and the photos are as they were."""
    before = {*out.parent.iterdir()}, files(root)
    with pytest.raises(ProblemsError) as caught:
        build_benchmark(root, out, settings, **options)
    assert before == ({*out.parent.iterdir()}, files(root))
    return caught.value.problems
