"""Which image has which list of instructions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from anchoredit_jax.errors import UserError, noting
from anchoredit_jax.evaluation.folder_cases import check_name
from benchmarks.session_builder.notation import (
    SUFFIXES,
    Instruction,
    is_list,
    load_list,
    number_turns,
    parse_list,
)
from benchmarks.session_builder.pool import draw_list, make_pool
from benchmarks.session_builder.settings import BenchmarkSettings

Paths = Mapping[str, Path]
Lists = dict[str, list[Instruction]]


def list_folder(
    folder: Path, given: Path | None, problems: list[str]
) -> tuple[dict[str, Path], list[Path]]:
    """(session -> image, the lists beside them), by name; hidden files do not count.

    Args:
      given: a list for all images; then there should be none beside them.
      problems: takes a line for everything that is refused, as in all of this file.
    """
    paths, lists = {}, []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or (given and path.resolve() == given.resolve()):
            continue
        if path.suffix.lower() in SUFFIXES:
            lists.append(path)
            continue
        with noting(problems, path.name):
            if not path.is_file():
                raise UserError("no file: images lie in the folder itself")
            check_name(path.stem)
            same = [x for x in paths if x.casefold() == path.stem.casefold()]
            if same:
                raise UserError(
                    f"its session would have the name of that of "
                    f"{paths[same[0]].name!r}: rename one"
                )
            paths[path.stem] = path
    if not paths and not problems:
        problems.append(f"no image in {str(folder)!r}")
    if given:
        problems += [f"{path.name}: a list that is not used" for path in lists]
    return paths, lists


def read_beside(
    beside: Sequence[Path],
    paths: Paths,
    settings: BenchmarkSettings,
    problems: list[str],
) -> Lists:
    """The list beside each image."""
    lists: Lists = {}
    used: dict[str, Path] = {}
    for path in beside:
        if path.stem not in paths:
            problems.append(f"{path.name}: instructions without an image")
        elif path.stem in used:
            problems.append(f"{path.name}: a second list beside {used[path.stem].name}")
        else:
            used[path.stem] = path
            with noting(problems, path.name):
                value = load_list(path)
                lists[path.stem] = _turns(value, path.name, settings, problems)
    problems += [
        f"{path.name}: no instructions: write {name}.txt or {name}.json beside it"
        for name, path in paths.items()
        if name not in used
    ]
    return lists


def read_common(
    file: Path, paths: Paths, settings: BenchmarkSettings, problems: list[str]
) -> Lists:
    """One list for all images, or a JSON object {image's name: list}."""
    with noting(problems, file.name):
        value = load_list(file)
        if is_list(value):
            turns = _turns(value, file.name, settings, problems)
            return dict.fromkeys(paths, turns)
        return _by_name(value, file.name, paths, settings, problems)
    return {}


def draw_lists(
    file: Path, paths: Paths, settings: BenchmarkSettings, problems: list[str]
) -> Lists:
    """A list for each image, drawn from a pool."""
    with noting(problems, file.name):
        before = len(problems)
        value = load_list(file)
        entries = parse_list(value, file.name, settings.language, problems)
        if len(problems) == before:
            pool = make_pool(entries, settings.turns)
            return {
                name: draw_list(pool, settings.turns, settings.seed, name)
                for name in paths
            }
    return {}


def _by_name(
    value: Mapping[str, object],
    where: str,
    paths: Paths,
    settings: BenchmarkSettings,
    problems: list[str],
) -> Lists:
    names = {path.name: name for name, path in paths.items()} | {x: x for x in paths}
    lists: Lists = {}
    for key, entries in value.items():
        place = f"{where}, {key!r}"
        with noting(problems, place):
            if key not in names:
                raise UserError("instructions without an image")
            if names[key] in lists:
                raise UserError("a second list of this image")
            lists[names[key]] = []  # there is one, even if it is refused
            lists[names[key]] = _turns(entries, place, settings, problems)
    problems += [
        f"{path.name}: no instructions in {where}"
        for name, path in paths.items()
        if name not in lists
    ]
    return lists


def _turns(
    value: object, where: str, settings: BenchmarkSettings, problems: list[str]
) -> list[Instruction]:
    """The turns of a list, as many as they should be."""
    entries = parse_list(value, where, settings.language, problems)
    fewest, most = settings.turns
    if not fewest <= len(entries) <= most:
        problems.append(f"{where}: {len(entries)} turns, expected {fewest} to {most}")
    return number_turns(entries, where, problems)
