"""`recipe=reference`: the reference's numbers, as far as they are known.

Known from its own files and recorded runs: noise levels, degradations and their
strengths, probability of self-rollout, weights of turns, attention, both distillations'
grids, guidance and ratios, betas, the learning rates of distribution matching, the
few-step timesteps, absolute positions, full history.

Not known, and ours here: the learning rates of the other stages, warm-up, schedule,
batches, decay of the average, the probabilities of degradations other than the codec's
round trip (the recorded runs have 0.7 for each), shares of null and dropped
instructions, and which of its attentions goes with which stage ("bidirectional" and
"teacher_forcing" are values of `options.attention`; the recorded losses have stage 1
bidirectional and stage 2 causal).
"""

# The reference's own text is not known: this one names what it is to lead away from.
NEGATIVE = (
    "overexposed, washed-out colours, blurred details, compression artefacts, "
    "subtitles, deformed hands and faces, extra fingers, cluttered background"
)
TIMESTEPS = (1000.0, 750.0, 500.0, 250.0)
RATES = dict(
    single_turn=2e-5, causal_forcing=1e-5, consistency=5e-6, distribution_matching=1e-6
)
# Its file has a mean of 644 and 8 % above 833: most of what its four steps ask for at
# the top, and 1000 itself, is left to distillation.
_NOISE = dict(
    lower_min=0.35, lower_max=0.55, last_min=0.7, minimum=20.0, maximum=980.0,
    truncate=True,
)  # fmt: skip
_DEGRADE = dict(
    colour=0.7, colour_scale=0.05, colour_bias=0.03,
    low_frequency=0.7, low_frequency_amplitude=0.06,
    block=0.7, laplace=0.7, laplace_scale=0.035, blur=0.7, blur_sigma=0.45,
    lower=0.15, monotonic=False, blur_padding="zero", round_trip=0.1,
)  # fmt: skip
OPTIONS = dict(
    single_turn=dict(timesteps=_NOISE, attention="bidirectional", clean_source=0.0),
    causal_forcing=dict(
        timesteps=_NOISE,
        loss=dict(turn_alpha=1.0),
        rollout=dict(kind="one_pass", probability=0.5),
        degrade=_DEGRADE,
        clean_history=0.0,
    ),
    consistency=dict(grid_steps=48, shift=5.0, guidance=3.0, snap_shift=5.0),
    distribution_matching=dict(
        guidance=7.0,  # its 6, in our convention
        critic_ratio=5,
        critic=dict(learning_rate=5e-6, b1=0.0, b2=0.999),
    ),
)


def sections(stage: str, steps: int, *, wan: bool) -> dict:
    """Make the sections that `recipe.sections` makes, with the reference's numbers.

    Args:
      wan: whether the text encoder knows the words of the negative prompt.
    """
    distilled = stage in ("consistency", "distribution_matching")
    options = dict(OPTIONS[stage])
    if stage == "single_turn":
        options["from_scratch"] = not wan
    few_steps = dict(kind="few_step", steps=len(TIMESTEPS), timesteps=TIMESTEPS)
    many_steps = dict(kind="euler", steps=50, shift=5.0, guidance=3.0)
    return dict(
        memory=dict(sink=1, window=None, positions="absolute"),
        optimizer=dict(
            learning_rate=RATES[stage],
            b1=0.0 if stage == "distribution_matching" else 0.9,
            b2=0.999,
            steps=steps,
            warmup=max(1, min(500, steps // 10)),
        ),
        options=options,
        sampler=dict(
            few_steps if distilled else many_steps, negative=NEGATIVE if wan else ""
        ),
        data=dict(null_fraction=0.05, drop_fraction=0.1, skip_probability=0.0),
    )
