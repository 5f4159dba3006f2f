"""Flags of XLA for each kind of chip, each with its reason.

    eval "$(python -m anchoredit_jax.parallel.xla_flags v5p)"

puts them into the environment of the shell, before any of its own that are there
already (the last one counts). The sets are short and follow the public recipes of
MaxText and NVIDIA. None of them was measured here: the compilers know every flag
(tests/parallel/test_xla_flags.py), but compare a few steps with and without before a
long run.
"""

import sys
from typing import NamedTuple

from anchoredit_jax.errors import UserError, exit_on_user_error
from anchoredit_jax.strict import unknown_name


class Flag(NamedTuple):
    """A flag, its value, and why it is there."""

    name: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f"--{self.name}={self.value}"


# Weights that fsdp has cut up are gathered while the layer before is computed.
_OVERLAP = (
    Flag("xla_enable_async_all_gather", "true", "gathers run beside computation"),
    Flag(
        "xla_tpu_overlap_compute_collective_tc",
        "true",
        "the core computes while a collective moves",
    ),
    Flag(
        "xla_tpu_enable_async_collective_fusion",
        "true",
        "collectives become parts of the fusions that hide them",
    ),
    Flag(
        "xla_tpu_enable_async_collective_fusion_multiple_steps",
        "true",
        "a long collective may span several fusions",
    ),
)
_FUSED_GATHERS = (
    Flag(
        "xla_tpu_enable_async_collective_fusion_fuse_all_gather",
        "true",
        "so it is for the gathers of fsdp",
    ),
)
# Between slices, gradients are summed over the slow network of the data centre.
_SLICES = (
    Flag(
        "xla_tpu_enable_data_parallel_all_reduce_opt",
        "true",
        "gradients of a layer travel between slices while others are computed",
    ),
    Flag(
        "xla_tpu_data_parallel_opt_different_sized_ops",
        "true",
        "also where their arrays differ in size",
    ),
)
# Small cores beside the main one that can do sums and copies of collectives.
_SPARSE_CORE = (
    Flag(
        "xla_tpu_enable_sparse_core_collective_offload_all_reduce",
        "true",
        "the SparseCores add gradients up, the main core goes on",
    ),
    Flag(
        "xla_tpu_use_tc_device_shape_on_sc",
        "true",
        "they see the same mesh as the main core",
    ),
    Flag(
        "xla_sc_disable_megacore_partitioning",
        "true",
        "a collective's work is not cut for two main cores",
    ),
    Flag(
        "xla_sc_enable_instruction_fusion", "false", "nothing to fuse in a collective"
    ),
    Flag(
        "xla_sc_disjoint_spmem", "false", "one buffer may use all of their own memory"
    ),
)
_SPARSE_CORE_FSDP = (
    Flag(
        "xla_tpu_enable_sparse_core_collective_offload_all_gather",
        "true",
        "the SparseCores gather weights",
    ),
    Flag(
        "xla_tpu_enable_sparse_core_collective_offload_reduce_scatter",
        "true",
        "and sum gradients into their parts",
    ),
    Flag(
        "xla_tpu_enable_async_collective_fusion_fuse_all_gather",
        "false",
        "what they do is not fused on the main core",
    ),
    Flag(
        "xla_tpu_enable_async_collective_fusion_fuse_reduce_scatter",
        "false",
        "nor is this",
    ),
    Flag("xla_tpu_enable_async_collective_fusion_fuse_all_reduce", "false", "nor this"),
)


def _fast_memory(kib: int) -> tuple[Flag, ...]:
    return (
        Flag(
            "xla_tpu_scoped_vmem_limit_kib",
            str(kib),
            "larger tiles of matrix products in the chip's fast memory",
        ),
    )


FLAGS: dict[str, tuple[Flag, ...]] = {
    "v4": (*_OVERLAP, *_FUSED_GATHERS, *_SLICES),
    "v5e": (*_OVERLAP, *_FUSED_GATHERS, *_SLICES),
    "v5p": (*_OVERLAP, *_FUSED_GATHERS, *_SLICES),
    "v6e": (
        *_OVERLAP,
        *_FUSED_GATHERS,
        *_SLICES,
        *_SPARSE_CORE,
        *_fast_memory(98304),
    ),
    "tpu7x": (
        *_OVERLAP,
        *_SLICES,
        *_SPARSE_CORE,
        *_SPARSE_CORE_FSDP,
        *_fast_memory(65536),
    ),
    "gpu": (
        Flag(
            "xla_gpu_enable_latency_hiding_scheduler",
            "true",
            "collectives start early and end late, with computation between",
        ),
        Flag(
            "xla_gpu_enable_highest_priority_async_stream",
            "true",
            "collectives do not wait behind computation",
        ),
        Flag(
            "xla_gpu_all_gather_combine_threshold_bytes",
            "134217728",
            "weights of a layer are gathered at once",
        ),
        Flag(
            "xla_gpu_reduce_scatter_combine_threshold_bytes",
            "134217728",
            "so are their gradients",
        ),
        Flag(
            "xla_gpu_enable_pipelined_all_gather",
            "true",
            "the next layer's gather overlaps this layer, inside the scan",
        ),
        Flag(
            "xla_gpu_enable_pipelined_reduce_scatter",
            "true",
            "the last layer's gradients overlap this layer",
        ),
    ),
}


def variable(chip: str) -> str:
    """The environment variable that takes the flags of a kind of chip."""
    return "XLA_FLAGS" if chip == "gpu" else "LIBTPU_INIT_ARGS"


def flags(chip: str) -> str:
    """The flags of a kind of chip: the value of `variable`.

    Raises:
      UserError: no such kind of chip.
    """
    if chip not in FLAGS:
        raise UserError(unknown_name(f"chip '{chip}'", chip, FLAGS))
    return " ".join(str(flag) for flag in FLAGS[chip])


if __name__ == "__main__":
    with exit_on_user_error():
        if len(sys.argv) != 2:
            raise UserError(f"name one kind of chip: {', '.join(FLAGS)}")
        name = variable(sys.argv[1])
        print(f'export {name}="{flags(sys.argv[1])} ${{{name}:-}}"')
