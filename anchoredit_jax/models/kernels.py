"""Which kernels of attention a device has, and which of them it is best served by."""

from anchoredit_jax.errors import UserError
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.cudnn import DTYPES
from anchoredit_jax.parallel.chips import Device, device_at_hand

CUDNN_HEADS = 128  # channels at most, in multiples of 8


def attention_kernel(config: TransformerConfig, device: Device | None = None) -> str:
    """The backend of `models/attention.py` that `model.attention` stands for.

    "auto" is "splash" on a TPU; "cudnn" on an NVIDIA GPU of compute capability 8.0 or
    more, in a dtype and with heads that it has; else "prefix".

    Args:
      device: to compile for; by default `device_at_hand()`.

    Raises:
      UserError: a kernel that the device does not have.
    """
    device = device or device_at_hand()
    here = {"splash": _is_tpu(device), "cudnn": _is_nvidia(device)}
    asked = config.attention
    if asked != "auto":
        if not here.get(asked, True):
            needs = {"splash": "a TPU", "cudnn": "an NVIDIA GPU"}[asked]
            raise UserError(
                f"model.attention={asked} needs {needs}, the device is "
                f"{device.device_kind!r}: set model.attention=auto, which takes the "
                "kernel of the device at hand"
            )
        return asked
    if here["splash"]:
        return "splash"
    fits = config.head_dim % 8 == 0 and config.head_dim <= CUDNN_HEADS
    new = float(getattr(device, "compute_capability", 8.0)) >= 8.0
    if here["cudnn"] and new and fits and config.dtype in DTYPES:
        return "cudnn"
    return "prefix"


def _is_tpu(device: Device) -> bool:
    return device.platform == "tpu"


def _is_nvidia(device: Device) -> bool:
    maker = device.device_kind.split()[:1]
    return device.platform in ("gpu", "cuda") and maker in (["NVIDIA"], ["Tesla"])
