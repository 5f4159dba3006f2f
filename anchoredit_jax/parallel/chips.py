"""What is known of each accelerator, as a table: the plan and the logs divide by it."""

from typing import NamedTuple, Protocol, runtime_checkable

import jax


@runtime_checkable
class Device(Protocol):
    """What is read of a device, one at hand or one of a topology."""

    @property
    def platform(self) -> str: ...

    @property
    def device_kind(self) -> str: ...


class Chip(NamedTuple):
    """Figures of one device as JAX counts them (a chip; of TPU v7x half of one).

    Attributes:
      tflops: peak of bfloat16 matrix products, 10^12 operations a second.
      hbm_gib: memory, GiB.
      hbm_gbps: its bandwidth, 10^9 bytes a second.
      ici_gbps: bandwidth of all links to neighbouring chips, one way, 10^9 bytes a
        second.
      dcn_gbps: bandwidth of the data-centre network between slices, one way, 10^9 bytes
        a second.
    """

    tflops: float
    hbm_gib: float
    hbm_gbps: float
    ici_gbps: float
    dcn_gbps: float


# Google's published figures (Cloud TPU documentation, system architecture; the links'
# bidirectional bandwidths halved) and NVIDIA's data sheets (dense products). The memory
# of a TPU is what its compiler lets programs have.
CHIPS: dict[str, Chip] = {
    "v4": Chip(275, 30.5, 1228, 300, 6.25),
    "v5e": Chip(197, 15.75, 819, 200, 3.1),
    "v5p": Chip(459, 95.74, 2765, 600, 6.25),
    "v6e": Chip(918, 31.25, 1638, 400, 12.5),
    "tpu7x": Chip(1153.5, 94.75, 3690, 300, 6.25),
    "h100": Chip(989, 80.0, 3350, 450, 50),
    "h200": Chip(989, 141.0, 4800, 450, 50),
    "a100": Chip(312, 80.0, 2039, 300, 25),
}
# What devices call themselves; the longest beginning that fits counts.
_KINDS = {
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
    "TPU7x": "tpu7x",
    "NVIDIA H100": "h100",
    "NVIDIA H200": "h200",
    "NVIDIA A100": "a100",
}


def device_at_hand() -> Device:
    """Tell what a program traced now is compiled for: a device of the mesh in force,
    which may be elsewhere, or else the default device."""
    meant = jax.sharding.get_abstract_mesh().abstract_device
    default = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    return meant or default or jax.devices()[0]


def chip_of(device: Device) -> str | None:
    """The key of `CHIPS` for a device; None where it is not in the table (CPUs)."""
    begins = [kind for kind in _KINDS if device.device_kind.startswith(kind)]
    return _KINDS[max(begins, key=len)] if begins else None
