"""Wan 2.1 at its real sizes, on pods: what configs/wan_14b.py and wan_1_3b.py share.

    python launch/train.py --config configs/wan_14b.py:stage=causal_forcing,\
pod=v5p:4x4x4,path=prepared,cache=features --workdir W

Arguments stand behind the colon, separated by commas:

    stage    single_turn, causal_forcing, consistency, distribution_matching
    pod      a TPU topology of the table `PODS`: mesh, batch and rematerialisation
    steps    steps of the loop
    recipe   ours (configs/recipe.py) or reference (configs/reference.py)
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
from anchoredit_jax.models.presets import EDITING, PRESETS
from anchoredit_jax.strict import unknown_name
from configs import recipe

TURNS = 5  # 6 frames; of 1024 x 1024 pixels one has 4,096 tokens
HELD_OUT = 0.02  # of the sessions, never trained on
STEPS = dict(
    single_turn=20_000, causal_forcing=10_000, consistency=3_000,
    distribution_matching=2_000,
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
            cache="", vae="Wan2.1_VAE.pth", text="umt5-xxl", recipe="ours",
        ),
    )  # fmt: skip
    for name, known in (("stage", recipe.STAGES), ("pod", pods)):
        if given[name] not in known:
            what = f"{name} '{given[name]}'"
            raise UserError(unknown_name(what, given[name], known))
    stage = given["stage"]
    settings = {**pods[given["pod"]]["all"], **pods[given["pod"]].get(stage, {})}
    steps = given["steps"] or STEPS[stage]
    common = recipe.sections(
        stage, size, steps=steps, batch=settings["batch"], recipe=given["recipe"]
    )
    config = ConfigDict(
        dict(
            stage=stage,
            seed=given["seed"],
            model=dict(
                PRESETS[size],
                dtype="bfloat16",
                remat=settings["remat"],
            ),
            codec=dict(kind="wan_vae", wan_vae=dict(weights=given["vae"])),
            text=dict(
                kind="umt5", length=512, dim=4096,
                umt5=dict(folder=given["text"], dtype="bfloat16"),
            ),
            data=dict(
                common.pop("data"),
                kind="sessions",
                size=EDITING[size]["side"],
                turns=1 if stage == "single_turn" else TURNS,
                batch=settings["batch"],
                seed=given["seed"],
                sessions=dict(
                    path=given["path"],
                    cache=given["cache"] or None,
                    layout="pairs" if stage == "single_turn" else "chain",
                    # Compiling takes minutes: one program a size, not one for each
                    # number of turns too.
                    buckets=dict(mix_turns=True),
                    held_out=HELD_OUT,
                ),
            ),
            **common,
            loop=dict(steps=steps, log_every=10, checkpoint_every=500, keep=3),
            mesh=settings["mesh"],
            # Fifty guided steps a frame: edited seldom.
            eval=recipe.held_out_measures(steps, edits_every=1000),
        )
    )  # fmt: skip
    return override(config, overrides)
