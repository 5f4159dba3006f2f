"""What the forward pass keeps for the backward pass: named policies of memory.

  none       everything that a derivative reads.
  block      the inputs of the blocks; what is inside is computed again.
  attention  these and what the TPU kernel of attention gives: that is not again.
  offload    the inputs of the blocks, in the memory of the host.

With all but "none" the head, whose rows are float32, goes frame by frame, and keeps
nothing either.
"""

from collections.abc import Callable

import jax
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from anchoredit_jax.arrays import Array, Float
from anchoredit_jax.models.splash import SAVED

BLOCK_INPUT = "block_input"


def named_input(x: Float[Array, "B T L D"]) -> Float[Array, "B T L D"]:
    """Name the input of a block, which "offload" takes to the host."""
    return checkpoint_name(x, BLOCK_INPUT)


def rematerialised(module: Callable, policy: str) -> Callable:
    """A module class whose inside follows the policy of this name."""
    if policy == "none":
        return module
    policies = jax.checkpoint_policies
    known = {
        "block": None,
        "attention": policies.save_only_these_names(SAVED),
        "offload": policies.save_and_offload_only_these_names(
            names_which_can_be_saved=[],
            names_which_can_be_offloaded=[BLOCK_INPUT],
            offload_src="device",
            offload_dst="pinned_host",
        ),
    }
    # A scan's body is compiled by itself: nothing outside can be merged with it.
    return nn.remat(module, prevent_cse=False, policy=known[policy])
