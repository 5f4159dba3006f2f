"""Your own images: prepared editing sessions at toy size, on a laptop's CPU.

    python launch/prepare_data.py --source my_sessions --out prepared
    python launch/curriculum.py --config configs/sessions.py:path=prepared --workdir W

Arguments are those of configs/sprites.py, and

    path    folder of launch/prepare_data.py (needed)
    cache   its feature cache, made by launch/prepare_data.py --cache
    side    images have about the area of a square of this side, pixels
    turns   the longest sequence; longer sessions are cut into several (stage 1: edits)

The model, its codec and its words are the toy's: everything runs on photographs, and
learns their gist. For real sizes, replace `model`, `codec` and `text`.
"""

from ml_collections import ConfigDict

from anchoredit_jax.config import override, parse_arg
from anchoredit_jax.errors import UserError
from configs import recipe, sprites

LENGTH = 24  # words of an instruction
HELD_OUT = 0.05  # of the sessions: own data are few


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of one stage; see the arguments above."""
    given, overrides = parse_arg(
        arg,
        dict(
            stage="single_turn", preset="full", size="tiny", seed=0, steps=0,
            recipe="ours", path="", cache="", side=64, turns=4,
        ),
    )  # fmt: skip
    if not given["path"]:
        raise UserError(
            "configs/sessions.py needs path=: the --out of launch/prepare_data.py"
        )
    stage = given["stage"]
    of_sprites = ("stage", "preset", "size", "seed", "steps", "recipe")
    config = sprites.get_config(",".join(f"{key}={given[key]}" for key in of_sprites))
    common = recipe.sections(
        stage,
        "sessions",
        steps=config.loop.steps,
        batch=config.data.batch,
        recipe=given["recipe"],
    )
    config.options = ConfigDict(common["options"])
    config.data = ConfigDict(
        dict(
            common["data"],
            kind="sessions",
            size=given["side"],
            turns=1 if stage == "single_turn" else given["turns"],
            batch=config.data.batch,
            seed=given["seed"],
            sessions=dict(
                path=given["path"],
                cache=given["cache"] or None,
                layout="pairs" if stage == "single_turn" else "chain",
                held_out=HELD_OUT,
            ),
        )
    )
    config.text.length = LENGTH
    return override(config, overrides)
