"""Wan 2.1 at its real sizes, on pods: what configs/wan_14b.py and wan_1_3b.py share.

    python launch/train.py --config configs/wan_14b.py:stage=causal_forcing,\
pod=v5p:4x4x4,path=prepared,cache=features --workdir W

Arguments stand behind the colon, separated by commas:

    stage    single_turn, causal_forcing, consistency, distribution_matching
    pod      a TPU topology of the table `PODS`: mesh, batch and rematerialisation
    steps    optimizer steps
    seed     root of every draw, of the model's and of the data's
    path     folder of launch/prepare_data.py
    cache    its feature cache, latents and prompts. Plans count on one: without it the
             first chip of every host holds VAE and UMT5 as well
    vae      weights of the Wan VAE, the original file or that of diffusers
    text     folder of UMT5

and any single field by its dotted name: `data.batch=64`, `mesh.context=2`. Stage 1
starts from published weights: `launch/convert.py import`, then `--parent`.
"""

from ml_collections import ConfigDict

from anchoredit_jax.config import override, parse_arg
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.presets import PRESETS
from anchoredit_jax.strict import unknown_name

STAGE_NAMES = (
    "single_turn", "causal_forcing", "consistency", "distribution_matching",
)  # fmt: skip
SIDE, TURNS = 1024, 5  # 1024 x 1024 pixels are 4,096 tokens a frame; 6 frames
STEPS = dict(
    single_turn=20_000, causal_forcing=10_000, consistency=3_000,
    distribution_matching=2_000,
)  # fmt: skip
LEARNING_RATE = dict(
    single_turn=2e-5, causal_forcing=1e-5, consistency=5e-6,
    distribution_matching=2e-6,
)  # fmt: skip


def make_config(size: str, pods: dict, arg: str | None) -> ConfigDict:
    """The configuration of one stage at a size of `models/presets.py`.

    Args:
      pods: topology -> stage or "all" -> settings, see `PODS` of the size's file.
    """
    given, overrides = parse_arg(
        arg,
        dict(
            stage="single_turn", pod=next(iter(pods)), steps=0, seed=0, path="prepared",
            cache="", vae="Wan2.1_VAE.pth", text="umt5-xxl",
        ),
    )  # fmt: skip
    for name, known in (("stage", STAGE_NAMES), ("pod", pods)):
        if given[name] not in known:
            what = f"{name} '{given[name]}'"
            raise UserError(unknown_name(what, given[name], known))
    stage = given["stage"]
    settings = {**pods[given["pod"]]["all"], **pods[given["pod"]].get(stage, {})}
    steps = given["steps"] or STEPS[stage]
    config = ConfigDict(
        dict(
            stage=stage,
            seed=given["seed"],
            model=dict(
                PRESETS[size],
                dtype="bfloat16",
                attention="splash",
                remat=settings["remat"],
            ),
            codec=dict(kind="wan_vae", wan_vae=dict(weights=given["vae"])),
            text=dict(
                kind="umt5", length=512, dim=4096,
                umt5=dict(folder=given["text"], dtype="bfloat16"),
            ),
            memory=dict(sink=1, window=4, positions="window_relative"),
            data=dict(
                kind="sessions",
                size=SIDE,
                turns=1 if stage == "single_turn" else TURNS,
                batch=settings["batch"],
                seed=given["seed"],
                sessions=dict(
                    path=given["path"],
                    cache=given["cache"] or None,
                    layout="pairs" if stage == "single_turn" else "chain",
                ),
            ),
            optimizer=dict(
                learning_rate=LEARNING_RATE[stage],
                steps=steps,
                warmup=max(1, min(500, steps // 10)),
                ema=0.999,
            ),
            options=OPTIONS[stage],
            sampler=dict(kind="few_step", steps=4, shift=5.0),
            loop=dict(steps=steps, log_every=10, checkpoint_every=500, keep=3),
            mesh=settings["mesh"],
        )
    )  # fmt: skip
    return override(config, overrides)


# The frozen teacher is stored as it computes. Memory policies are left at full history:
# rules that differ by sample are not for the TPU kernel.
OPTIONS = dict(
    single_turn=dict(),
    causal_forcing=dict(
        rollout=dict(kind="one_pass", probability=0.5, warmup=500),
        degrade=dict(colour=0.05, low_frequency=0.05, blur=0.1),
        position_gap=8,
        gap_probability=0.25,
    ),
    consistency=dict(guidance=5.0, teacher_dtype="bfloat16"),
    distribution_matching=dict(
        sampler_shift=5.0, guidance=5.0, teacher_dtype="bfloat16"
    ),
)
