"""Small corpora in the schemas of published sets, and a reader that checks its results.

Images are of 32 x 48 pixels in blocks of 8, another for every number.
"""

import functools
import io
import json
import pickle
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from anchoredit_jax.data.sessions import (
    REASONS,
    Dropped,
    RawSession,
    Reading,
    open_source,
    parse_columns,
    read_part,
)


@functools.cache
def picture(number, form="PNG", **options):
    out = io.BytesIO()
    blocks = np.random.default_rng(number).integers(0, 256, (4, 6, 3))
    pixels = np.kron(blocks, np.ones((8, 8, 1))).astype(np.uint8)
    Image.fromarray(pixels).save(out, form, **options)
    return out.getvalue()


def struct(data, path=None):
    """An image as Hugging Face datasets store it."""
    return {"bytes": data, "path": path}


def turn_rows(sessions, turns=3, first=0):
    """Rows of the schema of MagicBrush."""
    return [
        {
            "img_id": str(session),
            "turn_index": turn,
            "source_img": struct(picture(10 * session + turn - 1)),
            "mask_img": struct(b"no image, and never read"),
            "instruction": f"edit {session} {turn}",
            "target_img": struct(picture(10 * session + turn), f"{session}.png"),
        }
        for session in range(first, first + sessions)
        for turn in range(1, turns + 1)
    ]


def write_parquet(path, rows, group=1000, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows)
    pq.write_table(table, path, row_group_size=group, **options)
    return path


def write_lines(path, rows):
    """JSON lines; what is no object is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows
    ]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def write_images(folder, numbers):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"{number}.png").write_bytes(picture(number))


def write_shard(path, files):
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def reading(columns="", **options):
    return Reading(columns=parse_columns(columns), **options)


def read(source, how=None, languages=("en",), links="follow", **options):
    """(sessions by key, what was dropped)."""
    parts = pickle.loads(pickle.dumps(open_source(source, how, links).parts))
    found = [x for part in parts for x in read_part(part, languages, **options)]
    sessions = {x.key: x for x in found if isinstance(x, RawSession)}
    dropped = [x for x in found if isinstance(x, Dropped)]
    assert len(sessions) + len(dropped) == len(found)
    for x in dropped:
        assert x.reason in REASONS and x.detail and "\n" not in x.detail and x.origin
    return sessions, dropped


def is_session(found, number, turns=3, language="text"):
    """Whether a session is the one that `turn_rows` made."""
    images = tuple(picture(10 * number + turn) for turn in range(turns + 1))
    texts = tuple(f"edit {number} {turn}" for turn in range(1, turns + 1))
    return found.images == images and found.instructions[language] == texts
