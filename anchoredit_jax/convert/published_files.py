"""Finding published weights: which file of a folder, and which weights of a file."""

import contextlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from anchoredit_jax.convert.name_map import listed
from anchoredit_jax.convert.networks import is_known
from anchoredit_jax.convert.other_files import refuse_other_folder, refuse_other_tensors
from anchoredit_jax.convert.tensor_files import (
    PICKLES,
    Tensors,
    open_index,
    open_tensors,
    pickled_tensors,
    read_pickle,
    strip_wrappers,
)
from anchoredit_jax.convert.wrapped_states import prefix_of, unwrapped
from anchoredit_jax.errors import UserError

INDEX = ".safetensors.index.json"  # that is written
# Those that are read; a variant of diffusers has its name in them.
INDICES = re.compile(r"\.(safetensors|bin)\.index(\.\w+)?\.json$")
# Of each network: folders of a diffusers pipeline, and names of files, first match.
FOLDERS = {"transformer": "transformer", "vae": "vae", "umt5": "text_encoder"}
PATTERNS = {
    "transformer": ("diffusion_pytorch_model*",),
    "vae": ("Wan2.1_VAE*", "diffusion_pytorch_model*"),
    "umt5": ("models_t5*", "model*", "pytorch_model*"),
}
# Folders of the two experts of a Wan 2.2: of early, noisy steps and of late ones.
EXPERTS = {
    "high": ("transformer", "high_noise_model"),
    "low": ("transformer_2", "low_noise_model"),
}
SHARD = re.compile(r"-\d+-of-\d+\.")
# Kinds of weights in a training checkpoint of the reference.
STATES = {"ema": "generator_ema", "live": "generator", "critic": "critic"}
COPIES = "copies"  # key of its metadata: the kind that repeats the average


log = logging.getLogger(__name__)


class Found(NamedTuple):
    """Published tensors, and what the file or folder says of them.

    Attributes:
      path: the file, or the index of the shards.
      tensors: by name, wrappers removed.
      config: what the config.json beside them holds, {} where there is none.
      dialect: "anchoredit" for a training checkpoint; None where the names tell.
      weights: "ema", "live" or "critic" of a training checkpoint.
      step: the step of a training checkpoint.
      kinds: those that the file has.
    """

    path: Path
    tensors: Tensors
    config: Mapping[str, Any]
    dialect: str | None = None
    weights: str | None = None
    step: int | None = None
    kinds: tuple[str, ...] = ()


def find_published(
    path: Path, network: str | None, weights: str | None, expert: str | None = None
) -> Found:
    """The published weights at a path.

    Args:
      expert: "high" or "low" of a folder with the transformers of two noise levels.

    Raises:
      UserError: none are there, several are and none is named, they are damaged, or the
        kind of weights asked for is not among them.
    """
    if path.is_dir() and network in (None, "transformer"):
        path = _expert_of(path, expert)
    elif expert is not None:
        raise UserError(
            f"{str(path)!r} is no folder of two experts: leave --expert out"
        )
    file = _file_of(path, network) if path.is_dir() else path
    with naming(file):
        return _found_in(file, network, weights)


def _expert_of(folder: Path, expert: str | None) -> Path:
    """The folder of the expert that is meant, `folder` itself where there is one model.

    Raises:
      UserError: there are two and none is named, or the one named is not there.
    """
    for high, low in zip(*EXPERTS.values(), strict=True):
        names = {"high": high, "low": low}
        there = [name for name in names.values() if (folder / name).is_dir()]
        if expert is not None and names[expert] in there and there != ["transformer"]:
            return folder / names[expert]
        if expert is None and there and there != ["transformer"]:
            raise UserError(
                f"{str(folder)!r} holds {' and '.join(there)}: {high} for the high "
                f"noise of the first steps, {low} for the low noise of the last ones. "
                "One network edits here: choose it with --expert high or --expert low"
            )
    if expert is not None:
        raise UserError(
            f"{str(folder)!r} holds no {' or '.join(EXPERTS[expert])} beside another "
            "expert: leave --expert out"
        )
    return folder


def other_expert(folder: Path) -> str | None:
    """The name of the other expert beside the folder of one."""
    for pair in zip(*EXPERTS.values(), strict=True):
        if folder.name in pair:
            other = pair[1 - pair.index(folder.name)]
            return other if (folder.parent / other).is_dir() else None
    return None


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors about tensors say which file they are in."""
    try:
        yield
    except UserError as error:
        if str(path) in str(error):
            raise
        raise UserError(f"{str(path)!r}: {error}") from error


def _found_in(file: Path, network: str | None, weights: str | None) -> Found:
    config = _published_config(file.parent / "config.json")
    if INDICES.search(file.name):
        tensors = _of_network(open_index(file), network)
        return _one_kind(Found(file, tensors, config), weights)
    if file.suffix in PICKLES:
        loaded = read_pickle(file)
        if any(isinstance(loaded.get(state), dict) for state in STATES.values()):
            return _training_checkpoint(file, loaded, config, weights)
        state, kind = unwrapped(loaded, weights)
        tensors = pickled_tensors(file, dict(state)).renamed(strip_wrappers)
        found = Found(file, _of_network(tensors, network), config, weights=kind)
        steps = (loaded.get(key) for key in ("step", "global_step"))
        step = next((step for step in steps if isinstance(step, int)), None)
        return _one_kind(found, weights) if kind is None else found._replace(step=step)
    tensors = _of_network(open_tensors([file]), network)
    return _one_kind(Found(file, tensors, config), weights)


def _of_network(tensors: Tensors, network: str | None) -> Tensors:
    """The tensors of one network by its own names, without what others put before."""
    refuse_other_tensors(tensors)
    prefix = prefix_of(tensors, network)
    inside = tensors.under(prefix)
    if not prefix or not any(is_known(names) for names in (inside, tensors)):
        return tensors
    if is_known(tensors) and not is_known(inside):
        return tensors
    others = sorted(name for name in tensors if not name.startswith(prefix))
    if others:
        log.warning(
            "read %d tensors under %r; not read: %d others (%s), see --network",
            len(inside),
            prefix,
            len(others),
            listed(others),
        )
    return inside


def _file_of(folder: Path, network: str | None) -> Path:
    networks = [network] if network else list(PATTERNS)
    for name in networks:
        inner = folder / FOLDERS[name]
        for place in (inner if inner.is_dir() else folder, folder):
            for pattern in PATTERNS[name]:
                if found := _weights_among(place, pattern):
                    return found
    looked_for = ", ".join(p for name in networks for p in PATTERNS[name])
    refuse_other_folder(folder)
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
    indices = [path for path in names if INDICES.search(path.name)]
    files = [p for p in names if p.suffix in (".safetensors", *PICKLES)]
    shards = [path for path in files if SHARD.search(path.name)]
    if not indices and shards:
        raise UserError(
            f"{str(folder)!r} holds shards without their index "
            f"(*{shards[0].suffix}.index.json): download that too"
        )
    # Where a model lies there in both formats, it is read from the safe and quick one.
    both = {p.stem for p in files if p.suffix == ".safetensors"}
    whole = [
        path
        for path in files
        if path not in shards
        and (path.suffix == ".safetensors" or path.stem not in both)
    ]
    safe = [path for path in indices if ".safetensors." in path.name]
    candidates = [*(safe or indices), *whole]
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
    told = loaded.get("metadata")
    told = told if isinstance(told, dict) else {}
    there = [k for k, state in STATES.items() if isinstance(loaded.get(state), dict)]
    if "ema" in there and told.get(COPIES) in there[1:]:
        there.remove(told[COPIES])
    wanted = weights or there[0]
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
    step = loaded.get("step")
    tensors.metadata.update({str(k): str(v) for k, v in told.items() if k != COPIES})
    return Found(
        file,
        tensors.renamed(lambda name: name.removeprefix("model.")),
        config,
        "anchoredit",
        wanted,
        step if isinstance(step, int) else None,
        tuple(there),
    )
