"""Wan 2.1 14B on TPU pods; arguments as in configs/wan.py.

`python launch/plan.py --all --sizes 14b` compiles every line of `PODS` and writes what
a chip then holds and does to docs/plan_14b.md.
"""

from ml_collections import ConfigDict

from configs import wan

# Topology -> stage ("all": those without settings of their own) -> how it is spread
# over the chips, samples of a step, and what the forward pass keeps for the backward
# pass (models/remat.py). The distillation stages remember the frames of a sequence for
# three networks: they share one among more chips.
PODS = {
    "v5p:4x4x4": dict(
        all=dict(mesh=dict(fsdp=64), batch=64, remat="block"),
        consistency=dict(mesh=dict(fsdp=16, context=4), batch=16),
        distribution_matching=dict(mesh=dict(fsdp=16, context=4), batch=16),
    ),
    "v6e:16x16": dict(
        all=dict(mesh=dict(fsdp=64, context=4), batch=64, remat="block"),
        consistency=dict(mesh=dict(fsdp=32, context=8), batch=32),
        distribution_matching=dict(mesh=dict(fsdp=32, context=8), batch=32),
    ),
    "v5e:16x16": dict(
        all=dict(mesh=dict(fsdp=64, context=4), batch=64, remat="offload"),
    ),
}
# Stages that a topology has the memory for, where not all.
STAGES = {"v5e:16x16": ("causal_forcing",)}
# Topology -> mesh of an editor: all chips share every product of one session's turn.
EDITING = {"v6e:2x4": dict(tensor=8), "v5p:2x2x2": dict(tensor=8)}


def get_config(arg: str | None = None) -> ConfigDict:
    return wan.make_config("wan_14b", PODS, arg)
