"""Sprites: the whole curriculum at toy size, on a laptop's CPU.

One stage, or all of them:

    python launch/train.py --config configs/sprites.py:stage=single_turn --workdir W
    python launch/curriculum.py --config configs/sprites.py --workdir W

Arguments stand behind the colon, separated by commas:

    stage    single_turn, causal_forcing, consistency, distribution_matching
    preset   full (half an hour on two cores) or quick (a few minutes)
    size     the model, a name of anchoredit_jax/models/presets.py
    seed     root of every draw, of the model's and of the data's
    steps    optimizer steps, instead of the preset's (the schedule follows)

and any single field by its dotted name: `data.batch=4`, `options.rollout.kind=none`.
"""

from ml_collections import ConfigDict

from anchoredit_jax.config import override, parse_arg
from anchoredit_jax.data.sprites import DEFAULT_WEIGHTS
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import POSITION_CHANNELS
from anchoredit_jax.models.presets import PRESETS
from anchoredit_jax.strict import unknown_name

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
STAGE_NAMES = tuple(STEPS["full"])
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
# Late in a session the source differs from the frame that is edited in far more than
# four turns can change: without such sessions, what the source shows in an object's
# place bleeds into it, turn after turn.
SKIP = dict(
    causal_forcing=dict(skip_turns=10, skip_probability=0.7),
    consistency=dict(skip_turns=10, skip_probability=0.5),
    distribution_matching=dict(skip_turns=10, skip_probability=0.5),
)
BATCH = dict(single_turn=8, causal_forcing=6, consistency=8, distribution_matching=4)
LEARNING_RATE = dict(
    single_turn=4e-3,
    causal_forcing=2.5e-3,
    consistency=3e-4,
    distribution_matching=1.5e-4,
)
# Per sample, (sink, window) of the memory it may use; window 0 is the full history.
# With four turns only windows below 3 leave frames out between the sink and the rest.
MEMORY_POLICIES = ((0, 0), (0, 3), (1, 3), (1, 3), (1, 2), (1, 1))
STRIDE = 2  # pixels of a latent's side


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of one stage; see the arguments above."""
    given, overrides = parse_arg(
        arg, dict(stage="single_turn", preset="full", size="tiny", seed=0, steps=0)
    )
    for name, known in (("stage", STAGE_NAMES), ("preset", STEPS), ("size", PRESETS)):
        if given[name] not in known:
            what = f"{name} '{given[name]}'"
            raise UserError(unknown_name(what, given[name], known))
    if given["steps"] < 0:
        raise UserError(f"config argument 'steps' must be 1 or more: {given['steps']}")
    stage = given["stage"]
    star = stage == "single_turn"
    steps = given["steps"] or STEPS[given["preset"]][stage]
    config = ConfigDict(
        dict(
            stage=stage,
            seed=given["seed"],
            model=dict(
                PRESETS[given["size"]], channels=3 * STRIDE**2 + POSITION_CHANNELS
            ),
            codec=dict(kind="patch", patch=dict(stride=STRIDE)),
            text=dict(kind="ngram", length=16, dim=PRESETS[given["size"]]["text_dim"]),
            memory=dict(sink=1, window=3, positions="window_relative"),
            data=dict(
                kind="sprites",
                size=32,
                turns=TURNS[stage],
                batch=BATCH[stage],
                seed=given["seed"],
                sprites=dict(
                    weights=dict(DEFAULT_WEIGHTS, **WEIGHTS.get(stage, {})),
                    layout="star" if star else "chain",
                ),
                **SKIP.get(stage, {}),
            ),
            optimizer=dict(
                learning_rate=LEARNING_RATE[stage],
                steps=steps,
                warmup=max(1, min(50, steps // 10)),
            ),
            options=OPTIONS[stage](),
            sampler=SAMPLERS[stage],
            mesh=dict(data=1),
            loop=dict(
                steps=steps,
                log_every=max(1, min(20, steps // 4)),
                checkpoint_every=max(1, min(200, steps // 2)),
                keep=2,
            ),
        )
    )
    return override(config, overrides)


def _timesteps(shift: float) -> dict:
    """u uniform in [0, 1], shifted towards noise; up to pure noise, where editing
    starts."""
    return dict(
        lower_max=0.0,
        last_min=1.0,
        shift=shift,
        shift_frames=True,
        minimum=10.0,
        maximum=1000.0,
    )


def _loss() -> dict:
    """What changes, and the worst tokens: the latter see what should have stayed."""
    return dict(edit_weight=0.5, hard_weight=1.0, weighting="x0")


def _single_turn() -> dict:
    # Where noise hides the image, only the instruction tells what to draw: below a
    # sigma of about 0.85 colours show through, and little about words is learned.
    return dict(timesteps=_timesteps(shift=5.0), loss=_loss())


def _causal_forcing() -> dict:
    # Clean histories alone teach to copy the frame before, errors included: worsened
    # ones make the model look for the subject in the source, and so do its own. These
    # are predicted from little noise: from much of it, where training mostly is, frames
    # are far worse than editing's, and such histories cost more than they save.
    return dict(
        timesteps=_timesteps(shift=4.0),
        loss=_loss(),
        rollout=dict(
            kind="one_pass", maximum=500.0, probability=0.6, fraction=0.8, warmup=20
        ),
        history="beside",
        history_noise=0.05,
        degrade=dict(colour=0.1, low_frequency=0.1, blur=0.1),
        memory_policies=MEMORY_POLICIES,
        position_gap=8,
        gap_probability=0.15,
    )


def _consistency() -> dict:
    # Without the anchor 100 steps cost what has one answer: subjects fell from 31.8 to
    # 24.7 dB after one turn.
    return dict(
        grid_steps=24,
        guidance=1.5,
        shift=3.0,
        edit_weight=0.5,
        anchor_weight=2.0,
        memory_policies=MEMORY_POLICIES,
        position_gap=8,
        gap_probability=0.25,
    )


def _distribution_matching() -> dict:
    return dict(
        sampler_steps=4,
        sampler_shift=3.0,
        # Guided scores make each free corner surer of "a circle somewhere", until all
        # have one: right answers fell from 0.47 to 0.35 while edges grew sharper.
        guidance=1.0,
        anchor_weight=5.0,
        critic_ratio=2,
        critic_learning_rate=5e-4,
        critic_weighting="x0",
        score_minimum=100.0,
        score_shift=3.0,
    )


OPTIONS = dict(
    single_turn=_single_turn,
    causal_forcing=_causal_forcing,
    consistency=_consistency,
    distribution_matching=_distribution_matching,
)
SAMPLERS = dict(
    single_turn=dict(kind="euler", steps=4, shift=3.0),
    causal_forcing=dict(kind="euler", steps=4, shift=3.0),
    consistency=dict(kind="few_step", steps=4, shift=3.0),
    distribution_matching=dict(kind="few_step", steps=4, shift=3.0),
)
