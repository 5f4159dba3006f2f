"""Raw session files for tests, good and bad, and a reader that checks its results."""

import io
import json
import pickle
import struct
import tarfile
import zlib

from PIL import Image

from anchoredit_jax.data.sessions import (
    REASONS,
    Dropped,
    RawSession,
    list_parts,
    read_part,
)


def encode(image=None, form="PNG", **options):
    out = io.BytesIO()
    image = Image.new("RGB", (12, 10), (200, 30, 90)) if image is None else image
    image.save(out, form, **options)
    return out.getvalue()


PNG = encode()
DOCUMENT = json.dumps({"instructions": [{"en": "redden it"}, {"en": "add a hat"}]})


def members(key, images=3, document=DOCUMENT, frames=False, data=PNG):
    """(name, content) of a session's files."""
    name = "{}/frame_{}.png" if frames else "{}.{}.png"
    files = [(name.format(key, n), data) for n in range(images)]
    if document is not None:
        files.append((f"{key}.json", document.encode()))
    return files


def write_tar(path, files, form=tarfile.PAX_FORMAT):
    """A shard; a member may be a TarInfo of its own instead of (name, content)."""
    with tarfile.open(path, "w", format=form) as tar:
        for file in files:
            if isinstance(file, tarfile.TarInfo):
                tar.addfile(file)
                continue
            member = tarfile.TarInfo(file[0])
            member.size = len(file[1])
            tar.addfile(member, io.BytesIO(file[1]))
    return path


def write_folder(root, files):
    for name, data in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def read(source, languages=("en",), links="follow", **options):
    """(sessions by key, what was dropped)."""
    parts = pickle.loads(pickle.dumps(list_parts(source, links=links)))
    found = [x for part in parts for x in read_part(part, languages, **options)]
    sessions = [x for x in found if isinstance(x, RawSession)]
    dropped = [x for x in found if isinstance(x, Dropped)]
    assert len(sessions) + len(dropped) == len(found)
    assert len({x.key for x in sessions}) == len(sessions)
    for x in dropped:
        assert x.reason in REASONS and x.detail and "\n" not in x.detail and x.origin
    return {x.key: x for x in sessions}, dropped


def read_tar(tmp_path, files, languages=("en",), **options):
    return read(write_tar(tmp_path / "a.tar", files), languages, **options)


def only(dropped):
    (one,) = dropped
    return one.key, one.reason


def png_header(width, height):
    """A valid PNG start that claims a size; its pixels never come."""
    out = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    out.seek(0, io.SEEK_END)
    for kind, body in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 100)),
    ):
        out.write(struct.pack(">I", len(body)) + kind + body)
        out.write(struct.pack(">I", zlib.crc32(kind + body)))
    return out.getvalue()
