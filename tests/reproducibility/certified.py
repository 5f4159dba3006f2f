"""Certificates to compare: made by hand, or by runs of the fake stages."""

from anchoredit_jax.reproducibility import Certificate, Row, compare, read
from anchoredit_jax.reproducibility.certificate import Segment, to_bits
from anchoredit_jax.reproducibility.rerun import run_certified
from tests.training.fake_stages import make_run


def certificate(**changes) -> Certificate:
    """Three steps, and a checkpoint after the second."""
    rows = tuple(
        Row(step, "i", "d", "k", {"loss": to_bits(1.5), "grad_norm": to_bits(0.25)})
        for step in (1, 2, 3)
    )
    values = dict(
        stage="single_turn",
        config={"seed": 0, "loop": {"steps": 3}, "data": {"batch": 2}},
        config_digest="c",
        dataset="f",
        parent=None,
        every=1,
        segments=(Segment(1, {"jax": "0.10.2", "XLA_FLAGS": ""}),),
        rows=rows,
        checkpoints={2: {"params/w": "aa", "opt_state/mu/w": "bb"}},
    )
    return Certificate(**{**values, **changes})


def certify(workdir, arg="", stage="fake_first", **options):
    """Train a fake stage; its certificate."""
    run_certified(make_run(stage, arg), workdir, quiet=True, **options)
    return read(workdir / stage)


def first_difference(left, right):
    """(step, kind, name) of the first one; None where all is equal."""
    first = compare(left, right).first
    return (first[0].step, first[0].kind, first[0].name) if first else None
