"""PyTorch files that hold weights inside of other dicts, and names inside of others."""

from collections.abc import Collection, Mapping
from typing import Any

from anchoredit_jax.convert.name_map import listed
from anchoredit_jax.errors import UserError

# Keys under which training programs keep weights: averaged ones, and those trained.
AVERAGED = ("ema", "ema_model", "model_ema", "params_ema", "ema_state_dict")
TRAINED = (
    *("state_dict", "model_state_dict", "model", "module", "net", "params"),
    *("weights", "transformer"),
)
# Where a file of several networks keeps each.
PLACES = {
    "transformer": ("model.diffusion_model.", "diffusion_model."),
    "vae": ("first_stage_model.", "vae."),
    "umt5": ("text_encoders.umt5xxl.transformer.", "cond_stage_model.transformer."),
}


def unwrapped(
    loaded: Mapping[str, Any], weights: str | None
) -> tuple[Mapping[str, Any], str | None]:
    """The tensors by name in what a PyTorch file holds, however deep.

    Args:
      weights: "ema" or "live" where a file has both; None takes the averaged ones.

    Returns:
      (tensors by name, "ema" or "live" where the file tells one from the other).

    Raises:
      UserError: there are several that it could be, or not those asked for.
    """
    kind = None
    while not _is_state(loaded):
        inner = {key: x for key, x in loaded.items() if _holds_state(x)}
        averaged = [key for key in AVERAGED if key in inner]
        trained = [key for key in TRAINED if key in inner]
        if not averaged and not trained:
            break
        if averaged and kind is None:
            kind = weights or "ema"
            if kind == "live" and not trained:
                raise UserError(
                    f"there are averaged weights only ({listed(averaged)}): use "
                    "--weights ema"
                )
        keys = averaged if kind == "ema" and averaged else trained
        if len(keys) > 1:
            raise UserError(
                f"there are several dicts of weights, {listed(keys)}: save the one "
                "that is meant in a file of its own"
            )
        loaded = inner[keys[0]]
    return loaded, kind


def _is_state(value: Any) -> bool:
    return isinstance(value, dict) and any(
        hasattr(x, "storage") for x in value.values()
    )


def _holds_state(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    inner = (value.get(key) for key in (*AVERAGED, *TRAINED))
    return _is_state(value) or any(_holds_state(x) for x in inner)


def prefix_of(names: Collection[str], network: str | None) -> str:
    """What all names of a network begin with that is none of the network's own.

    Args:
      network: that is meant; None takes the transformer of a file of several.
    """
    for prefix in PLACES[network or "transformer"]:
        if any(name.startswith(prefix) for name in names):
            return prefix
    first = next(iter(names)).split(".")[:-1] if names else []
    while first and not all(n.startswith(".".join(first) + ".") for n in names):
        first.pop()
    return ".".join(first) + "." if first else ""
