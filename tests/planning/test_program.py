"""Counts of compiled programs, against sums by hand and against XLA's own count.

`programs/` holds texts of the TPU compiler (v5p, "overlap" v6e), without what is not
read. The sums name arrays by their bytes; what is in VMEM (`S(1)`) is not counted.
"""

import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from anchoredit_jax.errors import UserError
from anchoredit_jax.planning.collectives import group_size
from anchoredit_jax.planning.hlo import Array, parse_shape
from anchoredit_jax.planning.program import Program, read_program

PROGRAMS = Path(__file__).parent / "programs"


def read(name: str, **options) -> Program:
    return read_program((PROGRAMS / f"{name}.txt").read_text(), **options)


def compile_program(function, *shapes, **options) -> tuple[Program, dict]:
    """The program on this machine's CPU, and XLA's count of it."""
    arguments = [
        shape
        if isinstance(shape, jax.ShapeDtypeStruct)
        else jax.ShapeDtypeStruct(shape, jnp.float32)
        for shape in shapes
    ]
    compiled = jax.jit(function).lower(*arguments).compile()
    return read_program(compiled.as_text(), **options), compiled.cost_analysis()


def test_a_scan_over_sharded_weights_gathers_each_layer():
    program = read("sharded_scan")  # 6 layers (512 -> 2048 -> 512), 256 rows a device
    hidden, shard, weight = 256 * 512 * 2, 128 * 2048 * 2, 512 * 2048 * 2
    assert program.flops == 6 * 2 * (2 * 256 * 512 * 2048)
    layer = (
        2 * hidden  # the carry is copied,
        + hidden  # and prefetched into VMEM
        + 2 * shard  # a layer's slices of both stacks
        + 2 * weight  # both gathered,
        + weight  # one of them prefetched,
        + weight  # the other one read by the fused products,
        + hidden  # which write the carry
    )
    assert program.hbm_bytes == 2 * hidden + 6 * layer
    assert [(c.kind, c.executions, c.group_size) for c in program.collectives] == [
        ("all-gather", 6, 4)
    ] * 2
    assert program.collective_bytes == 6 * 2 * 3 * shard


def test_batch_dimensions_of_products_are_not_overcounted():
    program = read("attention")  # 2 x 4 heads, 256 queries, 384 keys of 128
    assert program.flops == 2 * (2 * 2 * 4 * 256 * 384 * 128)
    query, key, scores = 2 * 256 * 4 * 128 * 2, 2 * 384 * 4 * 128 * 2, 2 * 4 * 256 * 768
    sums = 2 * 4 * 256 * 2
    assert program.hbm_bytes == (
        (key + query + scores)  # keys to VMEM; queries, scores
        + (scores + scores + sums)  # exponentials
        + (scores + sums + key + query)  # times values, which go through VMEM
        + 2 * query  # another layout
    )


def test_nested_loops_multiply():
    assert read("nested_loops").flops == 3 * 5 * 2 * 256**3


@pytest.mark.parametrize(
    "test, step, rounds",
    [
        ("compare(i, n), direction=LT", "add(i, k)", 4),
        ("compare(i, n), direction=LE", "add(k, i)", 5),
        ("compare(n, i), direction=NE", "add(i, k)", 4),
        ("compare(n, i), direction=GT", "add(i, k)", 4),
        ("compare(i, n), direction=LT", "subtract(i, k)", None),
        ("compare(i, n), direction=LT", "multiply(i, k)", None),
    ],
)
def test_loops_count_from_a_start_by_steps_to_a_bound(test, step, rounds):
    state = "(s32[], f32[4,4]{1,0}, s32[])"
    text = f"""
    HloModule hand

    condition {{
      p = {state} parameter(0)
      i = s32[] get-tuple-element(p), index=0
      n = s32[] get-tuple-element(p), index=2
      ROOT t = pred[] {test}, metadata={{op_name="loop"}}
    }}

    body {{
      p = {state} parameter(0)
      i = s32[] get-tuple-element(p), index=0
      k = s32[] constant(2)
      j = s32[] {step}
      x = f32[4,4]{{1,0}} get-tuple-element(p), index=1
      y = f32[4,4]{{1,0}} dot(x, x), lhs_contracting_dims={{1}}
      n = s32[] get-tuple-element(p), index=2
      ROOT r = {state} tuple(j, y, n)
    }}

    ENTRY main {{
      start = s32[] constant(2)
      bound = s32[] constant(10)
      x = f32[4,4]{{1,0}} parameter(0)
      s = {state} tuple(start, x, bound)
      ROOT w = {state} while(s), condition=condition, body=body
    }}
    """
    asked = []
    program = read_program(
        textwrap.dedent(text), loops=lambda name: asked.append(name) or 1
    )
    assert program.flops == (rounds or 1) * 2 * 4**3
    assert asked == ([] if rounds else ["loop"])


def test_a_loop_of_unknown_length_is_asked_for():
    with pytest.raises(UserError, match=r"unknown length \(jit\(<lambda>\)/while\)"):
        read("traced_loop")
    asked = []
    program = read("traced_loop", loops=lambda name: asked.append(name) or 7)
    assert asked == ["jit(<lambda>)/while"]
    assert program.flops == 7 * 2 * 512**3


def test_the_most_expensive_branch_is_counted():
    program = read("branches")
    assert program.flops == 2 * 2 * 512**3
    assert program.hbm_bytes == 3 * 512 * 512 * 2


def test_collectives_send_what_a_ring_sends():
    program = read("collectives")
    size = 1024 * 1024 * 2  # of a device's part, of 4
    sent = {
        "all-gather": 3 * size,
        "all-reduce": 2 * size * 3 / 4,
        "reduce-scatter": size * 3 / 4,
        "all-to-all": size * 3 / 4,
        "collective-permute": size,
    }
    assert program.collective_bytes_by_kind == sent
    assert program.collective_bytes == sum(sent.values())
    assert program.dcn_bytes == 0


def test_transfers_between_slices_are_dcn():
    program = read("slices")  # 2 slices of 4; a device's part of all_gather and psum
    part = 1024 * 128 * 2
    assert program.dcn_bytes == (
        part  # gathered between two slices,
        + 2 * (part / 4) / 2  # a quarter summed after its reduce-scatter
        + part  # sent on to the other slice
    )
    assert program.collective_bytes == 3 * (2 * part) + part * 3 / 4 + 3 * (part / 4)


def test_a_gradient_is_scattered_by_a_fused_all_reduce():
    program = read("weight_gradient")  # (1024, 512) @ (512, 2048) over 4 devices
    weight = 512 * 2048 * 2
    assert program.flops == 2 * (2 * 256 * 512 * 2048)
    kinds = program.collective_bytes_by_kind
    assert kinds["all-gather"] == kinds["reduce-scatter"] == weight * 3 / 4
    assert kinds["all-reduce"] == 2 * 4 * 3 / 4  # the loss


def test_a_collective_in_parts_is_counted_once():
    program = read("overlap")  # 8 layers (2048 -> 8192 -> 2048) over 8 devices
    weight = 2048 * 8192 * 2
    assert program.flops == 8 * 2 * (2 * 1024 * 2048 * 8192)
    assert program.collective_bytes == 8 * 2 * weight * 7 / 8


def test_slices_and_updates_move_their_part_alone():
    program = read("moves")
    layer, rows, numbers = 8192 * 8192 * 2, 65536 * 2048 * 2, 65536 * 4
    assert program.hbm_bytes == (
        2 * layer  # one of 8 layers, taken out
        + 3 * layer  # two of them multiplied into a third
        + numbers  # rows to gather, to VMEM
        + 2 * rows  # of 262144 in the table
    )


def test_host_memory_is_apart():
    program = read("offload")  # 6 hidden states go to the host
    assert program.host_bytes == 6 * 1024 * 256 * 2
    assert program.flops == 6 * 2 * 1024 * 256 * 256


def test_kernels_are_counted_by_the_caller():
    assert read("kernel").kernel_flops == 0
    kernels = []
    counted = read("kernel", kernels=lambda kernel: kernels.append(kernel) or (10, 5))
    (kernel,) = kernels
    assert kernel.name.startswith("splash_mha_fwd")
    assert kernel.op_name.endswith("pallas_call")
    assert [array.dims for array in kernel.operands[2:5]] == [(2, 2048, 128)] * 3
    assert kernel.outputs[-1] == parse_shape("bf16[2,2048,128]{2,1,0:T(8,128)(2,1)}")
    # The block mask comes from outside of the loop. A window of 512 in blocks of 512.
    assert kernel.constants[1] == "{ { { 1, 0 }, { 1, 1 }, { 1, 1 }, { 1, 1 } } }"
    assert kernel.constants[2] is None
    assert counted.kernel_flops == 4 * 10
    array, table = 2048 * 2 * 128 * 2, 4 * 128
    around = 2 * array + 2 * array + 2 * table
    layer = 2 * array + array + array  # copied, prefetched; an iota
    scratch = 3 * 512 * 128 * 4
    assert read("kernel").hbm_bytes == around + 4 * (layer + array + array + scratch)
    assert counted.hbm_bytes == around + 4 * (layer + 5)


def test_text_that_is_not_a_program_is_refused():
    with pytest.raises(UserError, match="ENTRY"):
        read_program("not a program")
    with pytest.raises(UserError, match="replica groups"):
        group_size("replica_groups=<new>", 8)
    with pytest.raises(UserError, match="replica groups"):
        group_size("replica_groups={<new>}", 8)


def test_other_ways_to_print_a_program():
    text = """
    HloModule hand, replica_count=2, entry_computation_layout={()->f32[2]{0}}

    ENTRY main {
      a = f32[2,3]{1,0} parameter(0), metadata={op_name="a
    of two lines"}
      b = f32[3]{0} constant({1, 2, /*index=2*/(3)}), sharding={replicated}
      c = f32[2]{0} dot(f32[2,3]{1,0} %a, f32[3]{0} %b), lhs_contracting_dims={1}
      ROOT d = f32[2]{0} all-reduce(c), replica_groups={}
    }
    """
    program = read_program(textwrap.dedent(text))
    assert program.flops == 2 * 2 * 3
    assert program.hbm_bytes == 4 * (6 + 3 + 2) + 4 * (2 + 2)
    assert program.collective_bytes == 2 * 8 * 1 / 2


def test_work_of_another_thread_counts_and_operands_that_nothing_reads_do_not():
    """A scatter may go to the sparse cores; a fusion need not print a parameter."""
    text = """
    HloModule hand, entry_computation_layout={()->f32[4,4]{1,0}}

    inside (p: f32[4,4], r: f32[4,4]) -> f32[4,4] {
      p = f32[4,4]{1,0} parameter(0)
      r = f32[4,4]{1,0} parameter(2)
      ROOT d = f32[4,4]{1,0} dot(p, r), lhs_contracting_dims={1}
    }, execution_thread="sparsecore"

    aside (x: f32[4,4]) -> f32[4,4] {
      x = f32[4,4]{1,0} parameter(0)
      ROOT f = f32[4,4]{1,0} fusion(x, x, x), kind=kCustom, calls=inside
    }, execution_thread="sparsecore"

    ENTRY main {
      x = f32[4,4]{1,0} parameter(0)
      s = ((f32[4,4]{1,0}), f32[4,4]{1,0}, u32[]) call-start(x), to_apply=aside
      ROOT d = f32[4,4]{1,0} call-done(s)
    }
    """
    program = read_program(textwrap.dedent(text))
    assert program.flops == 2 * 4**3
    assert program.hbm_bytes == 3 * 4 * 4 * 4  # two operands and the result


@pytest.mark.parametrize(
    "text, nbytes",
    [
        ("f32[100,100]{1,0:T(8,128)}", 104 * 128 * 4),
        ("bf16[100,100]{1,0:T(8,128)(2,1)}", 104 * 128 * 2),
        ("f32[3,5,100]{2,0,1:T(4,128)}", 5 * 4 * 128 * 4),
        ("f32[300]{0:T(512)S(1)}", 512 * 4),
        ("s4[64]{0:E(4)}", 32),
        ("pred[7,3]", 21),
    ],
)
def test_arrays_take_whole_tiles(text, nbytes):  # as in XLA's bytes accessed
    assert parse_shape(text).nbytes == nbytes


def test_shapes_of_tuples():
    first, (second, third) = parse_shape(
        "(s32[]{:T(128)}, /*index=1*/(f32[2]{0}, u8[]))"
    )
    assert first == Array("s32", (), (), (128,))
    assert second == Array("f32", (2,), (0,))
    assert third == Array("u8", ())


@pytest.mark.parametrize(
    "text, size",
    [
        ("{{0,1},{2,3}}", 2),
        ("{}", 8),
        ("[2,4]<=[8]", 4),
        ("[4,2]<=[2,4]T(1,0)", 2),
        ("mesh['a'=2,'b'=4] {'a'}", 2),
        ("mesh['a'=2,'b'=4] {'a','b'}", 8),
        ("mesh['a'=2,'b'=4], device_ids=([2,4]T(1,0)) {'b'}", 4),
        ("mesh['a'=8], device_ids=(7,6,5,4,3,2,1,0) {'a':(1)2}", 2),
        ("mesh['a'=2,'b'=4] {'a','b':(2)2}", 4),
    ],
)
def test_replica_groups(text, size):
    attributes = f"channel_id=1, replica_groups={text}, dimensions={{0}}"
    assert group_size(attributes, 8) == size


@pytest.mark.parametrize(
    "equation, left, right",
    [
        ("ij,jk->ik", (32, 48), (48, 64)),
        ("bhqd,bhkd->bhqk", (2, 3, 16, 8), (2, 3, 24, 8)),
        ("bqhd,bkhd->bhqk", (2, 16, 3, 8), (2, 24, 3, 8)),
        ("bij,bjk->bik", (5, 8, 16), (5, 16, 4)),
    ],
)
def test_products_are_xlas_count(equation, left, right):
    program, xla = compile_program(lambda a, b: jnp.einsum(equation, a, b), left, right)
    assert program.flops == xla["flops"] > 0


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "SAME"},
        {"padding": [(2, 0), (1, 3)], "window_strides": (2, 1)},
        {"padding": "VALID", "rhs_dilation": (2, 3)},
        {"padding": [(1, 2), (3, 1)], "lhs_dilation": (3, 2), "window_strides": (1, 2)},
        {"padding": "SAME", "feature_group_count": 4},
    ],
)
def test_convolutions_are_xlas_count(options):
    options = {"window_strides": (1, 1), **options}
    features = 8 // options.get("feature_group_count", 1)

    def convolve(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
        )

    program, xla = compile_program(convolve, (2, 13, 11, 8), (3, 2, features, 16))
    assert program.flops == xla["flops"] > 0


def test_memory_is_xlas_count():
    program, xla = compile_program(lambda a, b: jnp.tanh(a) + b, (64, 48), (64, 48))
    assert program.hbm_bytes == xla["bytes accessed"] == 3 * 64 * 48 * 4


def test_a_scan_is_its_rounds_times_a_round():
    def scan(x, weights):
        return lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, weights)[0].sum()

    program, xla = compile_program(scan, (16, 32), (7, 32, 32))
    assert program.flops == 7 * 2 * 16 * 32 * 32
    assert xla["flops"] < 2 * 2 * 16 * 32 * 32  # one round, and the sum
    gradient = jax.grad(scan, argnums=(0, 1))
    program, _ = compile_program(gradient, (16, 32), (7, 32, 32))
    assert program.flops == 3 * 7 * 2 * 16 * 32 * 32
    # Not the whole stack in each of the rounds.
    assert program.hbm_bytes < 7 * 12 * (32 * 32 + 16 * 32) * 4 + 8 * 7 * 32 * 32 * 4


def test_collectives_of_eight_devices():
    mesh = Mesh(np.array(jax.devices()).reshape(2, 4), ("a", "b"))

    def step(x):
        whole = lax.all_gather(x, "b", tiled=True)
        return lax.psum(whole, "a"), lax.ppermute(x, "b", [(0, 1), (1, 0)])

    sharded = jax.shard_map(
        step,
        mesh=mesh,
        in_specs=P(("a", "b")),
        out_specs=(P(), P(("a", "b"))),
        check_vma=False,
    )
    x = jax.ShapeDtypeStruct(
        (64, 16), jnp.float32, sharding=NamedSharding(mesh, P(("a", "b")))
    )
    program, _ = compile_program(sharded, x)
    part = 8 * 16 * 4
    found = {c.kind: (c.group_size, c.bytes_sent) for c in program.collectives}
    assert found == {
        "all-gather": (4, 3 * part),
        "all-reduce": (2, 4 * part),
        "collective-permute": (4, part),
    }
