"""Whether a machine can hold a session at all, before anything is allocated for it.

A configuration in a file from elsewhere may ask for any size and any window; what it
asks for is refused by a line, not by the kernel. The bound is a low one: what passes
may still be too much.
"""

import math
import os
import resource

import jax
import numpy as np

from anchoredit_jax.errors import UserError
from anchoredit_jax.session.loaded_model import LoadedModel


def check_capacity(editor: LoadedModel, size: tuple[int, int]) -> None:
    """Refuse a session whose memory and one frame are more than the devices hold.

    Args:
      size: (height, width) in pixels that it is edited at.

    Raises:
      UserError: says how much it needs, how much there is, and what to do.
    """
    needed, there = least_bytes(editor, size), _bytes_there()
    if needed > there:
        frames = frames_kept(editor)
        raise UserError(
            f"a session at {size[0]} x {size[1]} pixels that remembers {frames} frames "
            f"needs at least {needed / 2**30:.3g} GiB, this machine has "
            f"{there / 2**30:.3g}: give a smaller --size or --window"
        )


def frames_kept(editor: LoadedModel) -> int:
    """Frames that a memory of this editor has room for."""
    memory = editor.memory
    if memory.window is None:
        return (editor.max_turns or 0) + 1
    return memory.sink + memory.window


def least_bytes(editor: LoadedModel, size: tuple[int, int]) -> int:
    """Of keys and values of all that is remembered, and of one frame in the widest
    layer, in a session of one image."""
    model, unit = editor.run.model, editor.run.codec.stride * editor.run.model.patch
    tokens = math.prod(-(-side // unit) for side in size)
    item = np.dtype(model.dtype).itemsize
    remembered = 2 * model.num_layers * frames_kept(editor) * model.dim
    return item * tokens * (remembered + 2 * model.dim + model.ffn_dim)


def _bytes_there() -> int:
    """Of all devices together; of a CPU, what the process may take of the machine."""
    told = [device.memory_stats() or {} for device in jax.local_devices()]
    if all("bytes_limit" in stats for stats in told):
        return sum(stats["bytes_limit"] for stats in told)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return there if limit == resource.RLIM_INFINITY else min(there, limit)
