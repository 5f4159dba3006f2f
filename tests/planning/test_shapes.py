"""Which shapes of images a plan is made of."""

import pytest

from anchoredit_jax.config import load_config
from anchoredit_jax.data.session_buckets import bucket_table
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.splash import BLOCKS, block_sizes
from anchoredit_jax.planning.jobs import Job, is_done, jobs_of
from anchoredit_jax.planning.plan import digest_of
from anchoredit_jax.planning.shapes import bucket_size, tokens_of
from anchoredit_jax.testing import tiny_run
from tests.launch.test_plan import ROOT

WAN = f"{ROOT}/configs/wan_14b.py:stage=causal_forcing"


def test_the_worst_bucket_is_padded_to_the_most_tokens():
    run = load_config(WAN)
    assert bucket_size(run, "square", "v5p") == (1024, 1024)
    worst = bucket_size(run, "worst", "v5p")
    assert worst != (1024, 1024) and worst in bucket_table(1024, 16)

    def padded(size):
        tokens = tokens_of(run, size)
        return block_sizes(tokens, tokens, BLOCKS["v5p"])[0], tokens

    most, tokens = padded(worst)
    assert tokens < most == max(padded(size)[0] for size in bucket_table(1024, 16))
    for size in bucket_table(1024, 16):
        assert (
            padded(size)[0] < most
            or padded(size)[1] in range(tokens + 1)
            or (padded(size)[1] == most)
        )


def test_the_worst_bucket_is_of_the_configurations_own_table():
    run = load_config(f"{WAN},data.sessions.buckets.step=256")
    height, width = bucket_size(run, "worst", "v5p")
    assert height % 256 == width % 256 == 0
    narrow = load_config(f"{WAN},data.sessions.buckets.max_ratio=1.0")
    assert bucket_size(narrow, "worst", "v5p") is None  # the square alone


def test_images_of_one_shape_have_no_worst():
    assert bucket_size(tiny_run("causal_forcing"), "worst", "v5p") is None
    with pytest.raises(UserError, match="bucket 'best' is not one of square, worst"):
        bucket_size(load_config(WAN), "best", "v5p")


def test_all_lines_are_the_squares_and_then_the_worst():
    jobs = jobs_of("14b", ROOT / "configs")
    steps = [job for job in jobs if job.program != "turn"]
    half = len(steps) // 2
    assert [job[:4] for job in steps if job.bucket == "square"] == [
        job[:4] for job in steps if job.bucket == "worst"
    ]
    assert {job.bucket for job in steps[half:]} == {"worst"}
    squares = jobs_of("14b", ROOT / "configs", ["square"])
    assert len(squares) == len(jobs) - half


def test_a_line_is_done_when_it_is_of_this_configuration_and_fits():
    job = Job("14b", "causal_forcing", "v5p:4x4x4", WAN)
    row = dict(size="14b", program="causal_forcing", topology="v5p:4x4x4", fits=True)
    of = digest_of(job.run)
    assert is_done(job, [{**row, "of": of}])
    assert not is_done(job, [row])  # a line of before
    assert not is_done(job, [{**row, "of": "another"}])
    assert not is_done(job, [{**row, "of": of, "fits": False}])
    assert not is_done(job, [{**row, "of": of, "bucket": "worst"}])
    worst = job._replace(bucket="worst")
    assert is_done(worst, [{**row, "of": of, "bucket": "worst"}])
