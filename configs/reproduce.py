"""A run so small that all of launch/reproduce.py can be tried in minutes.

    python launch/reproduce.py run --config configs/reproduce.py --workdir W
    python launch/reproduce.py matrix --config configs/reproduce.py

Arguments stand behind the colon, separated by commas:

    stage    single_turn, causal_forcing, consistency, distribution_matching
    seed     root of the model's draws; the data's is data.seed
    steps    how far to go; the schedule does not follow, so that a shorter run is the
             beginning of a longer one
    rollout  of causal_forcing: none, one_pass or sequential

and any single field by its dotted name.
"""

from ml_collections import ConfigDict

from anchoredit_jax.config import override, parse_arg
from configs import sprites

STEPS = 12
SETTINGS = {
    "data.size": 16,
    "data.turns": 3,
    "data.batch": 4,
    "data.seed": 0,
    "model.dim": 32,
    "model.ffn_dim": 32,
    "model.num_heads": 2,
    "model.num_layers": 2,
    "model.scan_unroll": 1,
    "model.freq_dim": 16,
    "optimizer.steps": STEPS,
    "optimizer.warmup": 2,
    "loop.log_every": 1,
    "loop.checkpoint_every": 6,
    "eval.every": 0,  # which changes no bits
    "eval.edits_every": 0,
}
OF_STAGE = {
    "causal_forcing": {"options.rollout.warmup": 0},  # it rolls out from the start
    "consistency": {"options.grid_steps": 6},
    # Five updates of the critic to one of the generator, as at full size.
    "distribution_matching": {"options.critic_ratio": 5, "sampler.steps": 2},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The configuration of one stage; see the arguments above."""
    given, overrides = parse_arg(
        arg, dict(stage="single_turn", seed=0, steps=STEPS, rollout="one_pass")
    )
    stage = given["stage"]
    config = sprites.get_config(f"stage={stage},seed={given['seed']},steps={STEPS}")
    settings = {**SETTINGS, **OF_STAGE.get(stage, {}), "loop.steps": given["steps"]}
    if stage == "causal_forcing":
        settings["options.rollout.kind"] = given["rollout"]
    if stage != "single_turn":
        settings["data.skip_turns"] = 2
    config.mesh = ConfigDict()
    return override(override(config, settings), overrides)
