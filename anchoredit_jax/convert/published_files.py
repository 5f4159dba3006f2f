"""Finding published weights: which file of a folder, and which weights of a file."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from anchoredit_jax.convert.name_map import listed
from anchoredit_jax.convert.tensor_files import (
    PICKLES,
    Tensors,
    open_index,
    open_tensors,
    pickled_tensors,
    read_pickle,
    strip_wrappers,
)
from anchoredit_jax.errors import UserError

INDEX = ".safetensors.index.json"
# Of each network: folders of a diffusers pipeline, and names of files, first match.
FOLDERS = {"transformer": "transformer", "vae": "vae", "umt5": "text_encoder"}
PATTERNS = {
    "transformer": ("diffusion_pytorch_model*",),
    "vae": ("Wan2.1_VAE*", "diffusion_pytorch_model*"),
    "umt5": ("models_t5*", "model*"),
}
STATES = {"ema": "generator_ema", "live": "generator"}


class Found(NamedTuple):
    """Published tensors, and what the file or folder says of them.

    Attributes:
      path: the file, or the index of the shards.
      tensors: by name, wrappers removed.
      config: what the config.json beside them holds, {} where there is none.
      dialect: "anchoredit" for a training checkpoint; None where the names tell.
      weights: "ema" or "live" of a training checkpoint.
      step: the step of a training checkpoint.
    """

    path: Path
    tensors: Tensors
    config: Mapping[str, Any]
    dialect: str | None = None
    weights: str | None = None
    step: int | None = None


def find_published(path: Path, network: str | None, weights: str | None) -> Found:
    """The published weights at a path.

    Raises:
      UserError: none are there, several are and none is named, they are damaged, or the
        kind of weights asked for is not among them.
    """
    file = _file_of(path, network) if path.is_dir() else path
    with naming(file):
        return _found_in(file, weights)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors about tensors say which file they are in."""
    try:
        yield
    except UserError as error:
        if str(path) in str(error):
            raise
        raise UserError(f"{str(path)!r}: {error}") from error


def _found_in(file: Path, weights: str | None) -> Found:
    config = _published_config(file.parent / "config.json")
    if file.name.endswith(INDEX):
        return _one_kind(Found(file, open_index(file), config), weights)
    if file.suffix in PICKLES:
        loaded = read_pickle(file)
        if any(isinstance(loaded.get(state), dict) for state in STATES.values()):
            return _training_checkpoint(file, loaded, config, weights)
        tensors = pickled_tensors(file, loaded).renamed(strip_wrappers)
        return _one_kind(Found(file, tensors, config), weights)
    return _one_kind(Found(file, open_tensors([file]), config), weights)


def _file_of(folder: Path, network: str | None) -> Path:
    networks = [network] if network else list(PATTERNS)
    for name in networks:
        inner = folder / FOLDERS[name]
        for place in (inner if inner.is_dir() else folder, folder):
            for pattern in PATTERNS[name]:
                if found := _weights_among(place, pattern):
                    return found
    looked_for = ", ".join(p for name in networks for p in PATTERNS[name])
    raise UserError(
        f"no weights in {str(folder)!r}: looked for {looked_for}, with the endings of "
        "an index of shards, .safetensors or a PyTorch file"
    )


def find_beside(folder: Path, network: str) -> Path | None:
    """The VAE or UMT5 of a model's folder, in one file or in shards: as its authors
    published it, or for diffusers in a folder of its own; None if it is not there.

    Raises:
      UserError: there are several, or shards without their index.
    """
    own, inner = PATTERNS[network][0], folder / FOLDERS[network]
    found = _weights_among(folder, own)
    for pattern in PATTERNS[network]:
        found = found or _weights_among(inner, pattern)
    return found


def _weights_among(folder: Path, pattern: str) -> Path | None:
    names = sorted(path for path in folder.glob(pattern) if path.is_file())
    indices = [path for path in names if path.name.endswith(INDEX)]
    files = [p for p in names if p.suffix in (".safetensors", *PICKLES)]
    if not indices and any("-of-" in path.name for path in files):
        raise UserError(
            f"{str(folder)!r} holds shards without their index "
            f"(*{INDEX}): download that too"
        )
    candidates = indices or files
    if len(candidates) > 1:
        raise UserError(
            f"{str(folder)!r} holds several weights, name one: "
            + listed([path.name for path in candidates])
        )
    return candidates[0] if candidates else None


def _published_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{str(path)!r} is damaged: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{str(path)!r} is no configuration: expected a JSON object")
    return config


def _one_kind(found: Found, weights: str | None) -> Found:
    if weights == "ema":
        raise UserError(
            f"{str(found.path)!r} holds one set of weights, there are no ema weights "
            "apart: leave --weights out"
        )
    return found


def _training_checkpoint(
    file: Path,
    loaded: Mapping[str, Any],
    config: Mapping[str, Any],
    weights: str | None,
) -> Found:
    there = [k for k, state in STATES.items() if isinstance(loaded.get(state), dict)]
    wanted = weights or "ema"
    if wanted not in there:
        raise UserError(
            f"{str(file)!r} has no {wanted} weights ({STATES[wanted]!r}); it holds "
            f"{listed(sorted(map(str, loaded)))}: use --weights {there[0]}"
        )
    tensors = pickled_tensors(file, loaded[STATES[wanted]]).renamed(strip_wrappers)
    odd = sorted(name for name in tensors if not name.startswith("model."))
    if odd:
        raise UserError(
            f"{str(file)!r}: expected every name of {STATES[wanted]!r} to begin with "
            f"'model.', found {listed(odd)}"
        )
    step, told = loaded.get("step"), loaded.get("metadata", {})
    if isinstance(told, dict):
        tensors.metadata.update({str(k): str(v) for k, v in told.items()})
    return Found(
        file,
        tensors.renamed(lambda name: name.removeprefix("model.")),
        config,
        "anchoredit",
        wanted,
        step if isinstance(step, int) else None,
    )
