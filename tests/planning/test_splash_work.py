"""Work of attention kernels, from the tables that the kernels themselves are given."""

import dataclasses
import json
import re

import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import splash
from anchoredit_jax.planning.hlo import parse_shape
from anchoredit_jax.planning.program import Kernel
from anchoredit_jax.planning.splash_work import splash_call

FRAMES, TOKENS, HEADS, WIDTH = 6, 2048, 3, 128
RULES = {
    "causal": FrameVisibility("causal"),
    "window": FrameVisibility("causal", window=3, sink=1),
    "all": FrameVisibility("bidirectional"),
}


def kernel_of(rule, phase, table=None):
    """A call as the compiler's text shows it, of a kernel that was really made."""
    seen = RULES[rule].table(FRAMES)
    padded, _, sizes = splash.block_sizes(TOKENS, TOKENS, splash.BLOCKS["v5p"])
    mask = splash.FrameMask(seen, padded, TOKENS, padded)
    made = splash._kernel(mask, HEADS, sizes, True)
    info = getattr(made, f"{phase}_mask_info")
    blocks = dict(
        fwd=dict(block_q=sizes.block_q, block_kv=sizes.block_kv),
        dq=dict(block_q_dq=sizes.block_q_dq, block_kv_dq=sizes.block_kv_dq),
        dkv=dict(block_q_dkv=sizes.block_q_dkv, block_kv_dkv=sizes.block_kv_dkv),
    )[phase]
    tables = [np.asarray(t) for t in (info.data_next, info.block_mask)]
    constants = [str(t.tolist()).replace("[", "{").replace("]", "}") for t in tables]
    if table is not None:
        constants[1] = table
    rows = parse_shape(f"bf16[{HEADS},{FRAMES * padded},{WIDTH}]")
    operands = [parse_shape(f"s8[{','.join(map(str, t.shape))}]") for t in tables]
    inside = json.dumps(blocks).replace('"', '\\"')
    return Kernel(
        name=f"splash_mha_{phase}_no_residuals.3",
        op_name="jit(step)/blocks/self_attn/pallas_call",
        operands=(*operands, rows, rows, rows),
        outputs=(rows,),
        constants=(*constants, None, None, None),
        attributes=f'kernel_metadata={{\n"xprof_metadata":"{inside}"\n}}',
    )


@pytest.mark.parametrize(("phase", "products"), [("fwd", 2), ("dq", 3), ("dkv", 4)])
@pytest.mark.parametrize("rule", RULES)
def test_operations_are_those_of_the_frames_that_are_seen(rule, phase, products):
    call = splash_call(kernel_of(rule, phase))
    pairs = int(RULES[rule].table(FRAMES).sum()) * TOKENS**2
    assert call.flops == products * 2 * WIDTH * HEADS * pairs
    assert call.worked / call.dense == RULES[rule].table(FRAMES).mean()
    once = HEADS * FRAMES * TOKENS * WIDTH * 2
    assert call.hbm_bytes > 4 * once


def test_a_table_that_is_the_same_everywhere_counts_every_block():
    whole = splash_call(kernel_of("all", "fwd"))
    assert splash_call(kernel_of("all", "fwd", "2")) == whole
    assert splash_call(kernel_of("all", "fwd", "0")).flops == 0


def test_of_the_rules_that_samples_choose_among_the_longest_is_counted():
    tables = [kernel_of(rule, "fwd").constants[1] for rule in ("window", "causal")]
    # As long as the longest: shorter ones have blocks that are not worked.
    short, long = (re.findall(r"-?\d+", table) for table in tables)
    short += ["0"] * (len(long) - len(short))
    both = "{ " + ", ".join(short + long) + " }"
    call = splash_call(kernel_of("causal", "fwd", both))
    assert call == splash_call(kernel_of("causal", "fwd"))
    both = "{ " + ", ".join(long + short) + " }"
    assert call == splash_call(kernel_of("causal", "fwd", both))


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(UserError, match="print the program with large constants"):
        splash_call(kernel_of("causal", "fwd", "{...}"))
    with pytest.raises(UserError, match="has 144 blocks, the text 2"):
        splash_call(kernel_of("causal", "fwd", "{1, 2}"))
    with pytest.raises(UserError, match="kernel other.1 is not known"):
        splash_call(dataclasses.replace(kernel_of("causal", "fwd"), name="other.1"))
