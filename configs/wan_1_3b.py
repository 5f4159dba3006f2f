"""Wan 2.1 1.3B on TPU pods; arguments as in configs/wan.py."""

from ml_collections import ConfigDict

from configs import wan

# As in configs/wan_14b.py. The model has 12 heads.
PODS = {
    "v5e:4x4": dict(all=dict(mesh=dict(fsdp=4, context=4), batch=4, remat="block")),
    "v6e:4x4": dict(all=dict(mesh=dict(fsdp=8, context=2), batch=8, remat="block")),
    "v5p:2x2x2": dict(all=dict(mesh=dict(fsdp=8), batch=8, remat="block")),
}
EDITING = {"v6e:2x2": dict(tensor=4)}


def get_config(arg: str | None = None) -> ConfigDict:
    return wan.make_config("wan_1_3b", PODS, arg)
