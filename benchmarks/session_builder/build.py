"""A benchmark of long sessions out of images and lists of instructions.

The result is the validation layout, which evaluations and the readers of
`data.sessions` take, and a manifest of what is in it:

    <out>/benchmark.json
    <out>/<id>/<id>.0.<ext>     the image, byte for byte where any reader sees in it
                                what `decode_image` does, else as PNG
    <out>/<id>/<id>.json        {"instructions": [..], "turns": [..]}

The id is the image's name without its ending. It appears whole or not at all.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anchoredit_jax import files
from anchoredit_jax.errors import ProblemsError, UserError
from anchoredit_jax.evaluation.folder_cases import FORMAT, MANIFEST, folder_digest
from anchoredit_jax.in_use import in_place_of
from benchmarks.session_builder.assignment import (
    Lists,
    draw_lists,
    list_folder,
    read_beside,
    read_common,
)
from benchmarks.session_builder.notation import to_document
from benchmarks.session_builder.pictures import (
    Picture,
    check_pictures,
    encode_picture,
)
from benchmarks.session_builder.settings import BenchmarkSettings


def build_benchmark(
    images: str | Path,
    out: str | Path,
    settings: BenchmarkSettings | None = None,
    instructions: str | Path | None = None,
    pool: str | Path | None = None,
    shown: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> dict[str, Any]:
    """Write a benchmark into a new folder.

    Args:
      images: a folder of images, each with `<name>.txt` or `<name>.json` beside it,
        see `notation`; of images alone, where one of the next two is given.
      out: the folder to write.
      settings: the default ones if None.
      instructions: a list for all images, or a JSON object {image's name: list}.
      pool: that every image's list is drawn from, see `pool`.
      shown: goes through the images and shows how far it has come.

    Returns:
      The manifest.

    Raises:
      ProblemsError: anything in the images or lists is wrong; it has all of it.
      UserError: `out` is there already, or cannot be written.
      In all cases nothing was written.
    """
    settings = settings or BenchmarkSettings()
    folder, out = Path(images), Path(out)
    _check_places(folder, out)
    problems: list[str] = []
    file, read = _choose(instructions, pool)
    paths, beside = list_folder(folder, file, problems)
    lists = read(file or beside, paths, settings, problems)
    pictures = check_pictures(paths, settings.min_side, problems, shown)
    if problems:
        raise ProblemsError(
            problems, f"the images and lists in {str(folder)!r}", "Nothing was written"
        )
    manifest = {
        "format": FORMAT,
        **_count(lists),
        "settings": _describe(settings, file, drawn=pool is not None),
    }
    try:
        with in_place_of(out):
            return _write(out, manifest, pictures, lists, settings.language)
    except OSError as error:
        raise UserError(f"{str(out)!r} cannot be written: {error}") from error


def _choose(instructions, pool) -> tuple[Path | None, Callable[..., Lists]]:
    if instructions is not None and pool is not None:
        raise UserError("give instructions or a pool, not both")
    if instructions is not None:
        return Path(instructions), read_common
    return (None, read_beside) if pool is None else (Path(pool), draw_lists)


def _check_places(folder: Path, out: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{str(folder)!r} is no folder: give one of images")
    if out.exists() or out.is_symlink():
        raise UserError(f"{str(out)!r} is there already: give a new folder")
    if folder.resolve() in out.resolve().parents:
        raise UserError(f"{str(out)!r} is in the folder of images: give another place")


def _write(
    out: Path,
    manifest: dict[str, Any],
    pictures: Mapping[str, Picture],
    lists: Lists,
    language: str,
) -> dict[str, Any]:
    """Write the folder beside its place, then move it there."""
    sources = {}
    with files.appearing(out.resolve(), shared=True) as made:
        for name, picture in pictures.items():
            data, ending = encode_picture(picture)
            (made / name).mkdir(parents=True)
            (made / name / f"{name}.0.{ending}").write_bytes(data)
            document = to_document(lists[name], language)
            files.write_json(made / name / f"{name}.json", document, indent=2)
            sources[name] = {
                "sha256": files.sha256(data),
                "folder_sha256": folder_digest(made / name),
                "turns": len(lists[name]),
                "file": picture.path.name,
                "file_sha256": picture.digest,
            }
        manifest = manifest | {"sources": sources}
        files.write_json(made / MANIFEST, manifest, indent=2)
    return manifest


def _describe(
    settings: BenchmarkSettings, file: Path | None, drawn: bool
) -> dict[str, Any]:
    kept = dataclasses.asdict(settings) | {"turns": list(settings.turns)}
    if drawn:
        return kept | {"pool": file.name}
    del kept["seed"]
    return kept if file is None else kept | {"instructions": file.name}


def _count(lists: Lists) -> dict[str, Any]:
    turns = [turn for some in lists.values() for turn in some]
    scopes = {"local": "local", "global": "global", "none": None}
    return {
        "sessions": len(lists),
        "turns": len(turns),
        "scopes": {
            name: sum(turn.scope == scope for turn in turns)
            for name, scope in scopes.items()
        },
        "returns": sum(turn.returns_to is not None for turn in turns),
        "null_instructions": sum(not turn.texts for turn in turns),
    }
