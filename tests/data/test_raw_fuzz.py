"""Reading never raises and never writes, whatever the files hold.

Every bad file lies beside sound sessions, which must all come out, exactly once.
"""

import io
import json
import os
import random
import struct
import tarfile
import zlib

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.data.sessions import REASONS, RawSession, list_parts, read_part


def encode(form="PNG", size=(16, 12)):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, form)
    return out.getvalue()


IMAGES = [encode("PNG"), encode("JPEG"), encode("WEBP")]
DOCUMENT = json.dumps({"instructions": [{"en": "a"}, {"en": "b"}]}).encode()
NAMES = ("{}.0.png", "{}.1.jpg", "{}.2.webp", "{}.json")


def session(key):
    contents = [*IMAGES, DOCUMENT]
    return {name.format(key): data for name, data in zip(NAMES, contents, strict=True)}


def shard(files, form=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            if data is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
            else:
                member.size = len(data)
            tar.addfile(member, io.BytesIO(data or b""))
    return out.getvalue()


def png_header(width, height):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + crc


def bad_images(rng):
    """(what, content) of files that are no usable images."""
    for data in IMAGES:
        for _ in range(8):
            yield "truncated", data[: rng.randrange(len(data) * 3 // 4)]
    for _ in range(8):
        flipped = bytearray(IMAGES[0])  # PNG: checksums make every flip an error
        flipped[rng.randrange(16, len(flipped) - 16)] ^= 1 << rng.randrange(8)
        yield "flipped", bytes(flipped)
    yield "empty", b""
    yield "text", b"no image\n" * 20
    yield "shard", shard(session("inner"))
    yield "document", DOCUMENT
    for size in ((0, 0), (0, 9), (1, 20_000), (30_000, 30_000), (2**31 - 1,) * 2):
        yield "header", png_header(*size)
    for size in ((1, 20_000), (7, 7), (16, 321)):
        yield "unfit", encode(size=size)


def bad_documents(rng):
    for _ in range(8):
        yield "truncated", DOCUMENT[: rng.randrange(len(DOCUMENT))]
    yield "bytes", b"\xff\xfe\x00\xd8" + DOCUMENT
    yield "not utf-8", DOCUMENT.replace(b'"a"', b'"\xe9\xff"')
    yield "deep list", b"[" * 100_000
    yield "deep object", b'{"a":' * 100_000
    yield "surrogate", DOCUMENT.replace(b'"a"', b'"\\ud800"')
    for value in (
        None,
        3,
        "x",
        [],
        [[]],
        {},
        [{}, {}],
        [1, 2],
        [None, None],
        [{"en": []}],
    ):
        yield "type", json.dumps({"instructions": value}).encode()
        yield "type", json.dumps(value).encode()
    yield "image", IMAGES[0]
    yield "number", b'{"instructions": ' + b"1" * 9999 + b"}"


def bad_sessions():
    """(what, its files): sessions "bad" with one file that is wrong."""
    rng = random.Random(1)
    for what, data in bad_images(rng):
        name = rng.choice(NAMES[:3]).format("bad")
        yield f"{what} image", session("bad") | {name: data}
    for what, data in bad_documents(rng):
        yield f"{what} document", session("bad") | {"bad.json": data}
    for name in NAMES:
        name = name.format("bad")
        files = session("bad")
        yield "missing file", {k: v for k, v in files.items() if k != name}
        yield "link", files | {name: None}


def header(name, size, kind=b"0", **fields):
    """A tar header, checksum right, with a size field as it is given (12 bytes)."""
    block = bytearray(512)
    block[:100] = name.encode().ljust(100, b"\0")
    block[100:108] = b"0000644\0"
    block[124:136] = size
    block[136:148] = b"00000000000\0"
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(records, size=None):
    size = len(records) if size is None else size
    return header("pax", b"%011o\0" % size, b"x") + records.ljust(512, b"\0")


LIES = [
    header("bad.0.png", b"77777777777\0"),
    header("bad.0.png", b"\x80" + b"\xff" * 11),
    header("bad.0.png", b"\xff" * 12),
    header("bad.0.png", b"\xff" * 10 + b"\xfe\x00"),
    header("bad.0.png", b"\x80\0\0\0" + b"\x7f" + b"\xff" * 7),
    header("bad.0.png", b"not octal!!!"),
    header("bad.0.png", b"\0" * 12)[:148] + b"\0" * 8 + bytes(356),
    header("bad", b"77777777777\0", b"x"),
    header("bad", b"77777777777\0", b"g"),
    header("bad", b"77777777777\0", b"L"),
    header("bad", b"77777777777\0", b"?"),
    header("bad", b"\xff" * 10 + b"\xf0\x00", b"?"),
    header("bad.0.png", b"00000001000\0", b"S") + b"\xff" * 512,
    pax(b"20 size=-1024\n") + header("bad.0.png", b"\0" * 12),
    pax(b"20 size=99999999999999999999\n") + header("bad.0.png", b"\0" * 12),
    pax(b"9" * 500 + b" path=x\n") + header("bad.0.png", b"\0" * 12),
    pax(b"0 path=x\n") + header("bad.0.png", b"\0" * 12),
    pax(b"22 hdrcharset=\xff\xff\xff\n") + header("bad.0.png", b"\0" * 12),
    pax(b"22 GNU.sparse.map=0,x,\n") + header("bad.0.png", b"\0" * 12),
    pax(b"21 GNU.sparse.major=1\n21 GNU.sparse.minor=0\n")
    + header("bad.0.png", b"00000000010\0")
    + b"9999999999\n".ljust(512, b"0"),
    pax(b"8 a=b\n") * 600,
]


def bad_shards():
    """(what, content) of damaged shards, all with the session "ahead" before."""
    rng = random.Random(2)
    ahead = shard(session("ahead"))
    ahead = ahead[: -(-len(ahead.rstrip(b"\0")) // 512) * 512]
    rest = shard(session("behind"))
    for lie in LIES:
        yield "lie", ahead + lie + rest
    whole = ahead + rest
    for _ in range(20):
        yield "truncated", whole[: rng.randrange(len(ahead), len(whole) - 10_000)]
    for _ in range(20):
        flipped = bytearray(whole)
        flipped[len(ahead) + rng.randrange(148)] ^= 1 << rng.randrange(8)
        yield "flipped", bytes(flipped)
    yield "zeroed", ahead + bytes(1024) + rest
    yield "cut in", ahead + rng.randbytes(700) + rest


def tree(folder):
    """Everything below a folder, and when it was changed."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(root, name)
            found[path] = os.lstat(path).st_mtime_ns, os.lstat(path).st_size
    return found


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A source with a good shard and good folders, read from a folder above it."""
    source = tmp_path / "deep" / "source"
    source.mkdir(parents=True)
    (source / "good.tar").write_bytes(shard(session("good 1") | session("good 2")))
    write_folder(source / "good 3", session("good 3"))
    write_folder(source / "zz", session("zz"))
    monkeypatch.chdir(tmp_path / "deep")
    return tmp_path


GOOD = ["good 1", "good 2", "good 3", "zz"]


def write_folder(folder, files):
    folder.mkdir()
    for name, data in files.items():
        if data is None:
            (folder / name).symlink_to("/etc/hostname")
        else:
            (folder / name).write_bytes(data)


def read_all(place):
    """(keys of sessions in order, what was dropped); reading must change nothing."""
    before = tree(place)
    found = [x for part in list_parts("source") for x in read_part(part)]
    assert tree(place) == before
    sessions = [x for x in found if isinstance(x, RawSession)]
    dropped = [x for x in found if not isinstance(x, RawSession)]
    for x in dropped:
        assert x.reason in REASONS and x.origin.startswith("source")
        assert x.detail and len(x.detail) <= 400 and x.detail.isprintable(), x
    for x in sessions:
        assert x.images == tuple(IMAGES) and x.sizes == ((12, 16),) * 3
    return sorted(x.key for x in sessions), dropped


def test_bad_sessions_in_a_shard(place):
    for what, files in bad_sessions():
        around = session("before") | files | session("behind")
        (place / "deep/source/bad.tar").write_bytes(shard(around))
        keys, dropped = read_all(place)
        assert keys == sorted(["before", "behind", *GOOD]), what
        assert [x.key for x in dropped] == ["bad"], what


def test_bad_sessions_in_folders(place):
    cases = list(bad_sessions())
    for n, (_, files) in enumerate(cases):
        folder = f"bad{n}"
        files = {name.replace("bad", folder): data for name, data in files.items()}
        write_folder(place / "deep/source" / folder, files)
    keys, dropped = read_all(place)
    assert keys == GOOD
    assert sorted(x.key for x in dropped) == sorted(
        f"bad{n}" for n in range(len(cases))
    )


def test_damaged_shards(place):
    for n, (what, data) in enumerate(bad_shards()):
        (place / "deep/source/bad.tar").write_bytes(data)
        keys, dropped = read_all(place)
        assert [key for key in keys if key != "behind"] == ["ahead", *GOOD], (n, what)
        assert dropped, (n, what)


def test_names_that_lead_elsewhere(place):
    names = ["../out.0.png", "/tmp/out.0.png", "a/../../out.json", "..", "....0.png"]
    names += ["a/..0.png", "a/...0.png", "\\out.0.png", "a\\..\\..\\out.0.png"]
    names += ["\udcff\udcfe.0.png", "x" * 5000, "a\x1b[2J.exe", "~/.0.png", "inner.tar"]
    files = {name: shard(session("inner")) for name in names}
    (place / "deep/source/bad.tar").write_bytes(
        shard(session("before") | files | session("behind"), tarfile.GNU_FORMAT)
    )
    keys, dropped = read_all(place)
    assert keys == sorted(["before", "behind", *GOOD])
    assert len(dropped) == len(names)


def test_there_are_enough_bad_files():
    assert len(list(bad_sessions())) + len(list(bad_shards())) >= 150
