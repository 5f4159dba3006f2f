"""A mixed corpus: all layouts, all kinds of images, two languages, good and bad."""

import io
import json
import tarfile

import numpy as np
from PIL import Image

SIZES = ((24, 32), (32, 24), (28, 28))
KINDS = ("jpeg", "rotated", "rgba", "palette", "la", "l", "cmyk", "deep", "gif", "webp")


def picture(number, frame, kind):
    """An encoded image of one of a few sizes; (bytes, ending of its name)."""
    height, width = SIZES[number % len(SIZES)]
    rng = np.random.default_rng(1000 * number + frame)
    pixels = rng.integers(0, 256, (height // 4, width // 4, 4)).astype(np.uint8)
    pixels[..., 3] = np.maximum(pixels[..., 3], 100)
    rgba = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    rgb = rgba.convert("RGB")
    out, options = io.BytesIO(), {}
    if kind == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        options["exif"] = exif
    if kind == "deep":
        deep = np.asarray(rgb.convert("L")).astype(np.uint16) * 257
        Image.fromarray(deep).save(out, "PNG")
        return out.getvalue(), "png"
    image, form, ending = {
        "jpeg": (rgb, "JPEG", "jpg"),
        "rotated": (rgb, "JPEG", "jpeg"),
        "rgba": (rgba, "PNG", "png"),
        "palette": (rgb.quantize(16), "PNG", "png"),
        "la": (rgba.convert("LA"), "PNG", "png"),
        "l": (rgb.convert("L"), "PNG", "png"),
        "cmyk": (rgb.convert("CMYK"), "JPEG", "jpg"),
        "gif": (rgb.quantize(16), "GIF", "png"),  # the content decides, not the name
        "webp": (rgb, "WEBP", "webp"),
    }[kind]
    image.save(out, form, **options)
    return out.getvalue(), ending


def texts(number, turns):
    """Instructions of a session: English, Chinese, both, or of no named language."""
    kind = number % 4
    if kind == 3:
        return {"edit_prompt": [f"edit {number} {n}" for n in range(turns)]}
    languages = (("en",), ("zh",), ("en", "zh"))[kind]
    words = {"en": "make it", "zh": "\u628a\u5b83\u53d8\u6210"}
    return {
        "instructions": [
            {key: f"{words[key]} {number} {n}" for key in languages}
            for n in range(turns)
        ]
    }


NAMES = ("s", "a b", "\u65e5\u672c", "x.y")


def name(number):
    return f"{NAMES[number % len(NAMES)]}{number}"


def session_files(number, turns):
    """(file name, content) of a good session."""
    kind, key = KINDS[number % len(KINDS)], name(number)
    for frame in range(turns + 1):
        data, ending = picture(number, frame, kind)
        yield f"{key}.{frame}.{ending}", data
    yield f"{key}.json", json.dumps(texts(number, turns), ensure_ascii=False).encode()


BAD = {
    "bad truncated": ("damaged image", lambda f: {**f, _image(f): f[_image(f)][:40]}),
    "bad gap": ("missing image", lambda f: _without(f, ".1.")),
    "bad count": ("wrong count", lambda f: _without(f, f".{len(f) - 2}.")),
    "bad document": ("bad json", lambda f: {**f, _json(f): b"{"}),
    "bad lonely": ("missing json", lambda f: _without(f, ".json")),
    "bad language": (
        "no language",
        lambda f: {**f, _json(f): b'{"instructions": [{"en": "a"}, {"zh": "b"}]}'},
    ),
}


def make_corpus(root, good=200, shards=2, most=8):
    """Good sessions and one of each kind of bad ones, in shards and in folders.

    Args:
      most: turns; sessions have 1, 2, .. of them in turn.

    Returns:
      (name -> turns of the good ones, name -> reason of the bad ones).
    """
    sessions = {name(n): dict(session_files(n, 1 + n % most)) for n in range(good)}
    turns = {key: len(files) - 2 for key, files in sessions.items()}
    reasons = {}
    for key, (reason, spoil) in BAD.items():
        files = {k.replace("s0", key, 1): v for k, v in session_files(0, 2)}
        sessions[key], reasons[key] = spoil(files), reason
    root.mkdir(parents=True, exist_ok=True)
    tars = [tarfile.open(root / f"shard-{n}.tar", "w") for n in range(shards)]
    for number, (key, files) in enumerate(sorted(sessions.items())):
        place = number % (shards + 1)
        for file, data in files.items():
            if place == shards:
                (root / key).mkdir(exist_ok=True)
                (root / key / file).write_bytes(data)
                continue
            member = tarfile.TarInfo(file)
            member.size = len(data)
            tars[place].addfile(member, io.BytesIO(data))
    for tar in tars:
        tar.close()
    return turns, reasons


def _image(files):
    return next(file for file in files if not file.endswith(".json"))


def _json(files):
    return next(file for file in files if file.endswith(".json"))


def _without(files, part):
    return {file: data for file, data in files.items() if part not in file}
