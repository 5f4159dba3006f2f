"""Sprites: the whole curriculum at toy size, on a laptop's CPU.

One stage, or all of them:

    python launch/train.py --config configs/sprites.py:stage=single_turn --workdir W
    python launch/curriculum.py --config configs/sprites.py --workdir W

Arguments stand behind the colon, separated by commas:

    stage    single_turn, causal_forcing, consistency, distribution_matching
    preset   full (half an hour on two cores) or quick (a few minutes)
    size     the model, a name of anchoredit_jax/models/presets.py
    seed     root of every draw, of the model's and of the data's
    steps    steps of the loop, instead of the preset's (the schedule follows)
    recipe   ours (configs/recipe.py) or reference (configs/reference.py)

and any single field by its dotted name: `data.batch=4`, `options.rollout.kind=none`.
"""

from ml_collections import ConfigDict

from anchoredit_jax.config import override, parse_arg
from anchoredit_jax.data.sprites import DEFAULT_WEIGHTS
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import POSITION_CHANNELS
from anchoredit_jax.models.presets import PRESETS
from anchoredit_jax.strict import unknown_name
from configs import recipe

STEPS = {
    "full": dict(
        single_turn=700,
        causal_forcing=500,
        consistency=80,
        distribution_matching=80,
    ),
    "quick": dict(
        single_turn=80,
        causal_forcing=60,
        consistency=20,
        distribution_matching=20,
    ),
}
# How often training asks for what, where it is not the data's own choice. Stage 1 packs
# four edits of one source into a sequence (data.sprites.layout = "star"): edits of
# objects are learned last and get the time that others do not need. Ambiguous ones have
# an error that no training removes, which adds to the noise; stage 3 needs a teacher of
# them, which stage 2 makes.
AMBIGUOUS = dict(add_somewhere=0.6, background_other=0.4)
DISTILLED = dict(add_somewhere=1.5, background_other=1.5)
WEIGHTS = dict(
    single_turn=dict(
        background=2.0, add=1.5, recolour=1.5, move=2.5, cover=0.5, **AMBIGUOUS
    ),
    # A new background is drawn around all that stays: shapes are lost here first.
    # Taking a cover off is what only the source frame can answer.
    causal_forcing=dict(
        background=2.0,
        recolour=1.5,
        cover=2.0,
        keep=0.25,
        add_somewhere=1.2,
        background_other=0.8,
    ),
    # Where one answer is right, one step is as good as twenty: nothing to distil.
    consistency=DISTILLED,
    distribution_matching=DISTILLED,
)
TURNS = dict(single_turn=4, causal_forcing=4, consistency=4, distribution_matching=4)
SKIP_TURNS = 10  # at most, behind the source
BATCH = dict(single_turn=8, causal_forcing=6, consistency=8, distribution_matching=4)
STRIDE = 2  # pixels of a latent's side


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of one stage; see the arguments above."""
    given, overrides = parse_arg(
        arg,
        dict(
            stage="single_turn", preset="full", size="tiny", seed=0, steps=0,
            recipe="ours",
        ),
    )  # fmt: skip
    for name, known in (("stage", recipe.STAGES), ("preset", STEPS), ("size", PRESETS)):
        if given[name] not in known:
            what = f"{name} '{given[name]}'"
            raise UserError(unknown_name(what, given[name], known))
    if given["steps"] < 0:
        raise UserError(f"config argument 'steps' must be 1 or more: {given['steps']}")
    stage = given["stage"]
    star = stage == "single_turn"
    steps = given["steps"] or STEPS[given["preset"]][stage]
    common = recipe.sections(
        stage, "sprites", steps=steps, batch=BATCH[stage], recipe=given["recipe"]
    )
    alone = given["recipe"] == "reference" and star  # its attention is for one edit
    config = ConfigDict(
        dict(
            stage=stage,
            seed=given["seed"],
            model=dict(
                PRESETS[given["size"]], channels=3 * STRIDE**2 + POSITION_CHANNELS
            ),
            codec=dict(kind="patch", patch=dict(stride=STRIDE)),
            text=dict(kind="ngram", length=16, dim=PRESETS[given["size"]]["text_dim"]),
            data=dict(
                common.pop("data"),
                kind="sprites",
                size=32,
                turns=1 if alone else TURNS[stage],
                batch=BATCH[stage],
                seed=given["seed"],
                sprites=dict(
                    weights=dict(DEFAULT_WEIGHTS, **WEIGHTS.get(stage, {})),
                    layout="star" if star else "chain",
                ),
                skip_turns=0 if star else SKIP_TURNS,
            ),
            **common,
            mesh=dict(data=1),
            loop=dict(
                steps=steps,
                log_every=max(1, min(20, steps // 4)),
                checkpoint_every=max(1, min(200, steps // 2)),
                keep=2,
            ),
            eval=recipe.held_out_measures(steps),
        )
    )
    return override(config, overrides)
