"""Which bytes move while products are computed, in texts whose schedule is plain."""

import textwrap

import pytest

from anchoredit_jax.planning.program import read_program
from tests.planning.test_program import read

GATHERED = 3 * 4 * 4 * 4  # 4 x 4 float32 of each of 4 devices
HEAD = """
HloModule hand, is_scheduled=true, num_partitions=4

product {
  p = f32[4,4]{1,0} parameter(0)
  ROOT d = f32[4,4]{1,0} dot(p, p), lhs_contracting_dims={1}
}

plain {
  p = f32[4,4]{1,0} parameter(0)
  ROOT n = f32[4,4]{1,0} negate(p)
}

wrapped {
  p = f32[16,4]{1,0} parameter(0)
  ROOT r = f32[4,4]{1,0} reduce-scatter(p), replica_groups={}, dimensions={0}
}

begun {
  p = f32[4,4]{1,0} parameter(0)
  g = f32[16,4]{1,0} all-gather(p), channel_id=7, replica_groups={}, dimensions={0}
  ROOT c = (f32[4,4]{1,0}, f32[16,4]{1,0}) custom-call(g), \
custom_call_target="AsyncCollectiveStart"
}

ended {
  p = f32[4,4]{1,0} parameter(0)
  q = f32[16,4]{1,0} parameter(1)
  g = f32[16,4]{1,0} all-gather(p), channel_id=NUMBER, replica_groups={}, \
frontend_attributes={chain_id="0"}
  ROOT c = f32[16,4]{1,0} custom-call(p, q, g), custom_call_target="AsyncCollectiveDone"
}
"""


def parse(body, number=7):
    lines = "\n".join(f"  {line.strip()}" for line in body.strip().splitlines())
    text = f"{HEAD}\nENTRY main {{\n  x = f32[4,4]{{1,0}} parameter(0)\n{lines}\n}}\n"
    return read_program(textwrap.dedent(text).replace("NUMBER", str(number)))


START = "s = (f32[4,4]{1,0}, f32[16,4]{1,0}) all-gather-start(x), replica_groups={}"
DONE = "e = f32[16,4]{1,0} all-gather-done(s)"
PRODUCT = "m = f32[4,4]{1,0} fusion(x), kind=kOutput, calls=product"
PLAIN = "n = f32[4,4]{1,0} fusion(x), kind=kLoop, calls=plain"


@pytest.mark.parametrize(
    ("lines", "hidden"),
    [
        ([START, PRODUCT, DONE], GATHERED),
        ([START, DONE, PRODUCT], 0),
        ([PRODUCT, START, DONE], 0),
        ([START, PLAIN, DONE], 0),
        (["s = f32[16,4]{1,0} all-gather(x), replica_groups={}", PRODUCT], 0),
    ],
    ids=["between", "after", "before", "no product", "one instruction"],
)
def test_a_gather_is_hidden_by_a_product_between_start_and_done(lines, hidden):
    program = parse("\n".join(lines))
    assert program.collective_bytes == GATHERED
    assert program.hidden_bytes == hidden


def test_the_end_is_that_of_the_same_start():
    """Two in flight: the product stands behind the end of the first one."""
    other = START.replace("s =", "t =")
    lines = [
        START,
        other,
        DONE,
        PRODUCT,
        DONE.replace("e =", "f =").replace("s)", "t)"),
    ]
    program = parse("\n".join(lines))
    assert program.collective_bytes == 2 * GATHERED
    assert program.hidden_bytes == GATHERED


def test_a_whole_computation_may_be_started():
    program = parse(
        f"""
        y = f32[16,4]{{1,0}} broadcast(x), dimensions={{}}
        s = ((f32[16,4]{{1,0}}), f32[4,4]{{1,0}}, u32[]) async-start(y), calls=wrapped
        u = ((f32[16,4]{{1,0}}), f32[4,4]{{1,0}}, u32[]) async-update(s)
        {PRODUCT}
        ROOT e = f32[4,4]{{1,0}} async-done(u)
        """
    )
    assert program.collective_bytes == program.hidden_bytes == 16 * 4 * 4 * 3 / 4


@pytest.mark.parametrize(("number", "after"), [(7, 0), (8, GATHERED)])
def test_a_chain_of_fusions_ends_with_the_one_of_its_channel(number, after):
    chain = """
        s = (f32[4,4]{1,0}, f32[16,4]{1,0}) fusion(x), kind=kCustom, calls=begun
        a = f32[4,4]{1,0} get-tuple-element(s), index=0
        b = f32[16,4]{1,0} get-tuple-element(s), index=1
        """
    done = "e = f32[16,4]{1,0} fusion(a, b), kind=kCustom, calls=ended"
    assert parse("\n".join([chain, PRODUCT, done])).hidden_bytes == GATHERED
    # One of another channel does not end it: it goes on, beside the product.
    assert parse("\n".join([chain, done, PRODUCT]), number).hidden_bytes == after


def test_loops_multiply_what_is_hidden_in_a_round():
    """The compiler's own text for v6e: of two weights a layer, one is gathered beside
    the product with the other."""
    program = read("overlap")
    layer = 2048 * 8192 * 2 * 7 / 8
    assert program.collective_bytes == 8 * 2 * layer
    assert program.hidden_bytes == 8 * layer
    assert {(c.hidden, c.executions) for c in program.collectives} == {
        (True, 8), (False, 8),
    }  # fmt: skip


def test_what_is_one_instruction_stands_alone():
    assert read("sharded_scan").hidden_bytes == read("collectives").hidden_bytes == 0
