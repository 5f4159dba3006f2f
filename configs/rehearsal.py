"""The rehearsal: the recipe of Wan at toy size, on image files with exact truth.

    bash launch/rehearsal.sh --out R          # writes the files, trains, evaluates
    python launch/curriculum.py --config configs/rehearsal.py:path=P,cache=F --workdir W

It is configs/wan_14b.py with another model, codec and text encoder, and with what hangs
on these: sizes, batches, steps, learning rates, guidance. Arguments behind the colon:

    stage    single_turn, causal_forcing, consistency, distribution_matching
    preset   full (at most two hours on two cores) or short (minutes)
    recipe   ours, or former: what Wan was trained with before its recipe was measured
             at toy size
    seed     root of every draw, of the model's and of the data's
    steps    steps of the loop, instead of the preset's
    path     folder of launch/prepare_data.py (needed); of recipe=former a folder that
             holds two: 1, sessions cut to their first edit, and 5, to their first five
    cache    feature cache; of recipe=former a folder of two, as above

and any single field by its dotted name: `data.batch=4`.
"""

from ml_collections import ConfigDict

from anchoredit_jax.config import override, parse_arg
from anchoredit_jax.errors import UserError
from anchoredit_jax.strict import unknown_name
from configs import sprites, wan_14b

STAGES = ("single_turn", "causal_forcing", "consistency", "distribution_matching")
# A pair of stage 1 shows no source: what a cover hides cannot be learned there, and its
# error, the largest, is what the worst tokens weigh. So most steps are stage 2's.
STEPS = {
    "full": dict(
        single_turn=1000,
        causal_forcing=4000,
        consistency=60,
        distribution_matching=100,
    ),
    "short": dict(
        single_turn=60, causal_forcing=20, consistency=8, distribution_matching=10
    ),
}
# A pair of stage 1 is two frames, where the toy packs four edits of a source.
BATCH = {
    "full": dict(
        single_turn=32, causal_forcing=6, consistency=8, distribution_matching=4
    ),
    "short": dict(
        single_turn=16, causal_forcing=4, consistency=4, distribution_matching=4
    ),
}
SIDE = 32  # pixels; images of all shapes have about the area of this square
RECIPES = ("ours", "former")
FORMER_TURNS = dict(single_turn=1)  # of a session, from its first; 5 where not named


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of one stage; see the arguments above."""
    given, overrides = parse_arg(
        arg,
        dict(
            stage=STAGES[0], preset="full", recipe="ours", seed=0, steps=0, path="",
            cache="",
        ),
    )  # fmt: skip
    for name, known in (("stage", STAGES), ("preset", STEPS), ("recipe", RECIPES)):
        if given[name] not in known:
            what = f"{name} '{given[name]}'"
            raise UserError(unknown_name(what, given[name], known))
    if not given["path"]:
        raise UserError(
            "configs/rehearsal.py needs path=: the --out of launch/prepare_data.py"
        )
    stage = given["stage"]
    steps = given["steps"] or STEPS[given["preset"]][stage]
    common = f"stage={stage},seed={given['seed']},steps={steps}"
    config = wan_14b.get_config(common)
    toy = sprites.get_config(common)
    with config.unlocked():
        for section in ("model", "codec", "text", "mesh"):
            config[section] = toy[section]
    # The toy's networks predict x_0: the velocity's error is theirs over sigma squared,
    # which would train nearly clean frames alone.
    for section, field in (("loss", "weighting"), (None, "critic_weighting")):
        place = config.options if section is None else config.options.get(section)
        if place is not None and field in place:
            place[field] = "x0"
    # Guidance and many steps multiply the error of so small a network (docs/toy.md).
    for name in ("steps", "guidance"):
        config.sampler[name] = toy.sampler.get(name, 1.0)
    if "guidance" in config.options:
        config.options.guidance = toy.options.guidance
    if "teacher_dtype" in config.options:
        config.options.teacher_dtype = "float32"  # as the toy computes
    if "from_scratch" in config.options:
        config.options.from_scratch = True
    config.optimizer.learning_rate = toy.optimizer.learning_rate
    config.optimizer.warmup = toy.optimizer.warmup
    where = _first_turns(stage) if given["recipe"] == "former" else ""
    config.data.update(
        size=SIDE,
        batch=BATCH[given["preset"]][stage],
        sessions=dict(
            config.data.sessions,
            path=given["path"] + where,
            cache=given["cache"] + where if given["cache"] else None,
            # Few sizes, each a compilation: one number of turns for all.
            buckets=dict(mix_turns=True),
            held_out=0.0,  # evaluated on sprites that no file shows
        ),
    )
    config.eval.update(every=0, edits_every=0)
    config.loop.update(
        log_every=max(1, min(20, steps // 4)),
        checkpoint_every=max(1, min(200, steps // 2)),
        keep=2,
    )
    if given["recipe"] == "former":
        _make_former(config)
    if "rollout" in config.options:
        config.options.rollout.warmup = steps // 20  # 500 of Wan's 10,000
    return override(config, overrides)


def _first_turns(stage: str) -> str:
    return f"/{FORMER_TURNS.get(stage, 5)}"


def _make_former(config: ConfigDict) -> None:
    """The former defaults, at ours' budget, rates, guidance and critic: noise levels
    that editing hardly visits, no null instruction, first turns alone, a history in the
    sequence, the same memory for all samples."""
    former = FORMER[config.stage]
    kept = {
        name: config.options[name]
        for name in ("critic", "guidance")
        if name in config.options
    }
    config.options = ConfigDict({**former, **kept})
    config.data.update(null_fraction=0.0, drop_fraction=0.0, skip_probability=0.0)
    config.optimizer.update(b1=0.9, b2=0.98, ema=0.999, ema_warmup=True)
    config.sampler = ConfigDict(dict(kind="few_step", steps=4, shift=5.0))


FORMER = dict(
    single_turn=dict(from_scratch=True),
    causal_forcing=dict(
        rollout=dict(kind="one_pass", probability=0.5),
        degrade=dict(colour=0.05, low_frequency=0.05, blur=0.1),
        position_gap=8,
        gap_probability=0.25,
    ),
    consistency={},
    distribution_matching={},
)
