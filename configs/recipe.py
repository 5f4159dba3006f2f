"""The recipe: how each stage is trained, once for all configurations.

`sections` gives what a stage's configuration says beside its model, data and mesh. All
of it was found with the toy (configs/sprites.py); what differs by size stands in
`SIZES`, a reason a line. The reference's own numbers are in configs/reference.py.
"""

import math

from anchoredit_jax.errors import UserError
from anchoredit_jax.models.presets import EDITING
from anchoredit_jax.strict import unknown_name
from configs import reference

STAGES = ("single_turn", "causal_forcing", "consistency", "distribution_matching")
DISTILLATIONS = STAGES[2:]
RECIPES = ("ours", "reference")


def each(*values):
    """Stage -> value, in the stages' order."""
    return dict(zip(STAGES, values, strict=True))


_TOY = dict(
    # Sampling's shift, and training's, which is a little higher: the steps after the
    # first can mend details, what to draw they cannot. Sigmas below 0.85 show colours
    # through the noise, and little about words is learned there.
    shift=3.0,
    noise=each(5.0, 4.0, 3.0, 3.0),
    # The network predicts x_0. Its velocity error is that of x_0 over sigma squared,
    # which would train nearly clean frames alone.
    weighting="x0",
    # Renders are exact: what differs was edited.
    edit_threshold=0.05,
    # More steps, or guidance, draw worse frames at this size (docs/toy.md).
    many_steps=dict(kind="euler", steps=4),
    # Its words mean one thing. Guided scores make each free corner surer of "a circle
    # somewhere", until all have one: right answers fell from 0.47 to 0.35.
    guidance=dict(consistency=1.5, distribution_matching=1.0),
    grid_steps=24,  # few levels suffice for 64 tokens
    critic_ratio=2,  # the critic keeps up: 80 steps are all there is
    learning_rate=each(4e-3, 2.5e-3, 3e-4, 1.5e-4),
    learned_at=None,  # the batches are its own
    critic_rate=5e-4,
    betas=each(*[(0.9, 0.98)] * 4),  # hundreds of steps: a shorter memory
    warmup=50,
    rollout_warmup=20,
    ema=None,  # 0.995 with a warm-up: single_turn starts from random weights
    window=3,
    teacher_dtype="float32",
    from_scratch=True,  # half an hour of a laptop
    # Sprites know the null instruction as "keep the image" alone.
    null_fraction=0.05,
    drop_fraction=0.0,
)
_IMAGES = dict(
    # Of the same sprites as JPEG of quality 90, compressed apart, two fifths of the
    # tokens differ by more than 0.05, and less than a fifth by more than 0.2.
    edit_threshold=0.2,
    # Guidance needs instructions left out; "keep" is still what most empty ones mean.
    null_fraction=0.1,
    drop_fraction=0.05,
)
_PUBLISHED = EDITING["wan_14b"]  # how published weights edit, of either size
_WAN = dict(
    _TOY,
    **_IMAGES,
    # 4,096 tokens a frame show as much as 64 do through more noise; Wan samples so.
    shift=_PUBLISHED["sampler"]["shift"],
    noise=each(8.0, 6.5, 5.0, 5.0),
    # Wan predicts the velocity, whose error is alike at all levels, as it was trained.
    weighting="velocity",
    # What Wan is published with: text needs guidance, and an undistilled model steps.
    many_steps=_PUBLISHED["sampler"],
    guidance=dict(consistency=5.0, distribution_matching=5.0),
    grid_steps=48,  # the reference's
    critic_ratio=5,  # the reference's: the critic follows a generator of many modes
    critic_rate=None,  # 5 times the generator's, the reference's ratio
    # No momentum where the goal moves with the network (the reference's betas).
    betas=each(*[(0.9, 0.999)] * 3, (0.0, 0.999)),
    warmup=500,
    rollout_warmup=500,
    # The warm-up of the average reaches 0.999 at update 8,990, later than most stages
    # end. All start from trained weights, so that the average may hold from the first.
    ema=0.999,
    window=_PUBLISHED["memory"]["window"],  # 5 turns are trained
    teacher_dtype="bfloat16",  # as it computes
    from_scratch=False,  # starts from published weights
)
SIZES = dict(
    sprites=_TOY,
    sessions=dict(_TOY, **_IMAGES),
    wan_1_3b=dict(
        _WAN,
        # A third of 14B's width stands twice its rate, at the same batch.
        learning_rate=each(4e-5, 2e-5, 2e-5, 4e-6),
        learned_at=64,
        teacher_dtype="float32",  # there is room
    ),
    wan_14b=dict(
        _WAN,
        # Distillation at 16 samples: 5e-6, and the reference's 1e-6 of the generator.
        learning_rate=each(2e-5, 1e-5, 1e-5, 2e-6),
        learned_at=64,
    ),
)


def sections(stage: str, size: str, *, steps: int, batch: int, recipe: str = "ours"):
    """Sections of a configuration: memory, optimizer, options, sampler, and what the
    recipe says about `data`.

    Args:
      size: a name of `SIZES`.
      steps: of the loop.
      batch: samples of a step.
      recipe: "ours" or "reference".

    Raises:
      UserError: an unknown recipe.
    """
    if recipe not in RECIPES:
        raise UserError(unknown_name(f"recipe '{recipe}'", recipe, RECIPES))
    table = SIZES[size]
    if recipe == "reference":
        return reference.sections(stage, steps, wan=size.startswith("wan"))
    shift = table["shift"]
    few_steps = dict(kind="few_step", steps=4)
    return dict(
        memory=dict(sink=1, window=table["window"], positions="window_relative"),
        optimizer=_optimizer(stage, table, steps, batch),
        options=_OPTIONS[stage](table, _warmup(table, steps)),
        # What a checkpoint of the stage edits with.
        sampler=dict(
            few_steps if stage in DISTILLATIONS else table["many_steps"], shift=shift
        ),
        data=_data(stage, table),
    )


def held_out_measures(steps, edits_every=400):
    """The section `eval`: what is measured while a stage of so many steps trains, which
    takes a few per cent of its work. Short stages are measured before and after, on
    fewer sessions."""
    few = dict(sessions=4, edits=2) if steps < 200 else {}
    return dict(every=min(200, steps), edits_every=min(edits_every, steps), **few)


def _optimizer(stage, table, steps, batch):
    rate, (b1, b2) = table["learning_rate"][stage], table["betas"][stage]
    if table["learned_at"]:  # Adam's steps are signs: noise falls with the root
        rate *= math.sqrt(batch / table["learned_at"])
    optimizer = dict(
        learning_rate=rate, b1=b1, b2=b2, steps=steps, warmup=_warmup(table, steps)
    )
    if table["ema"]:
        # Of what a stage starts from, exp(-5) is left in its average at most.
        updates = steps
        if stage == "distribution_matching":
            updates = math.ceil(steps / table["critic_ratio"])
        ema = round(max(0.0, min(table["ema"], 1 - 5 / updates)), 5)
        optimizer |= dict(ema=ema, ema_warmup=False)
    return optimizer


def _warmup(table, steps):
    return max(1, min(table["warmup"], steps // 10))


def _data(stage, table):
    data = dict(
        null_fraction=table["null_fraction"], drop_fraction=table["drop_fraction"]
    )
    # Late in a session the source differs from the frame that is edited in far more
    # than the turns shown can change: without such samples, what the source shows in an
    # object's place bleeds into it, turn after turn.
    if stage != "single_turn":
        data["skip_probability"] = 0.7 if stage == "causal_forcing" else 0.5
    return data


def _timesteps(stage, table):
    """u uniform in [0, 1], shifted towards noise; up to pure noise, where editing
    starts."""
    return dict(
        lower_max=0.0,
        last_min=1.0,
        shift=table["noise"][stage],
        shift_frames=True,
        minimum=10.0,
        maximum=1000.0,
    )


def _loss(table):
    """What changes, and the worst tokens: the latter see what should have stayed."""
    return dict(
        edit_weight=0.5,
        edit_threshold=table["edit_threshold"],
        hard_weight=1.0,
        weighting=table["weighting"],
    )


def _policies(table):
    """Per sample, (sink, window) of the memory it may use; window 0 is the full
    history. In as many turns as the window holds frames, and one more, only smaller
    windows leave frames out between the sink and the rest."""
    window = table["window"]
    return (
        (0, 0), (0, window), (1, window), (1, window), (1, window - 1), (1, window - 2),
    )  # fmt: skip


def _single_turn(table, warmup):
    return dict(
        timesteps=_timesteps("single_turn", table),
        loss=_loss(table),
        from_scratch=table["from_scratch"],
    )


def _causal_forcing(table, warmup):
    # Clean histories alone teach to copy the frame before, errors included: worsened
    # ones make the model look for the subject in the source, and so do its own. These
    # are predicted from little noise: from much of it, where training mostly is, frames
    # are far worse than editing's, and such histories cost more than they save.
    return dict(
        timesteps=_timesteps("causal_forcing", table),
        loss=_loss(table),
        rollout=dict(
            kind="one_pass", maximum=500.0, probability=0.6, fraction=0.8,
            warmup=table["rollout_warmup"],
        ),
        history="beside",
        history_noise=0.05,
        degrade=dict(colour=0.1, low_frequency=0.1, blur=0.1),
        memory_policies=_policies(table),
        position_gap=8,
        gap_probability=0.15,
    )  # fmt: skip


# Anchors of the distillations: without them 100 steps of consistency cost what has one
# answer, subjects fell from 31.8 to 24.7 dB after one turn. They are the toy's, whose
# data tell where several answers are right; with photographs that was not measured.
def _consistency(table, warmup):
    return dict(
        grid_steps=table["grid_steps"],
        guidance=table["guidance"]["consistency"],
        shift=table["noise"]["consistency"],
        edit_weight=0.5,
        edit_threshold=table["edit_threshold"],
        anchor_weight=2.0,
        teacher_dtype=table["teacher_dtype"],
        memory_policies=_policies(table),
        position_gap=8,
        gap_probability=0.25,
    )


def _distribution_matching(table, warmup):
    b1, b2 = table["betas"]["distribution_matching"]
    return dict(
        guidance=table["guidance"]["distribution_matching"],
        anchor_weight=5.0,
        critic_ratio=table["critic_ratio"],
        critic=dict(learning_rate=table["critic_rate"], b1=b1, b2=b2, warmup=warmup),
        critic_weighting=table["weighting"],
        score_minimum=100.0,
        score_shift=table["noise"]["distribution_matching"],
        teacher_dtype=table["teacher_dtype"],
    )


_OPTIONS = dict(
    single_turn=_single_turn,
    causal_forcing=_causal_forcing,
    consistency=_consistency,
    distribution_matching=_distribution_matching,
)
