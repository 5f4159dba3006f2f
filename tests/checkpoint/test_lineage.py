import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import freeze

from anchoredit_jax.checkpoint.lineage import Lineage, check_parent
from anchoredit_jax.errors import UserError
from anchoredit_jax.trees import digest


def make(stage="single_turn", step=5, parent=None):
    return Lineage(stage, step, "0123456789abcdef", {"seed": 1, "a": (1, 2)}, parent)


def test_digest_is_a_function_of_names_shapes_dtypes_and_bytes():
    tree = {"a": {"w": np.arange(6, dtype=np.float32)}, "b": np.ones((2,), np.float32)}
    value = digest(tree)
    assert value == "49c6e05c22567dd2"
    assert value == digest({"b": jnp.asarray(tree["b"]), "a": freeze(tree["a"])})
    changed = [
        {"a": {"v": tree["a"]["w"]}, "b": tree["b"]},
        {"a": {"w": tree["a"]["w"].reshape(2, 3)}, "b": tree["b"]},
        {"a": {"w": tree["a"]["w"].astype(np.int32)}, "b": tree["b"]},
        {"a": {"w": np.nextafter(tree["a"]["w"], np.float32(9))}, "b": tree["b"]},
    ]
    assert len({value, *map(digest, changed)}) == 5


def test_round_trip_through_json_and_the_chain():
    child = make("causal_forcing", 9, make())
    again = Lineage.from_dict(json.loads(json.dumps(child.to_dict())))
    assert again.to_dict() == child.to_dict()
    assert [link.stage for link in again.chain()] == ["single_turn", "causal_forcing"]
    assert again.describe() == (
        "single_turn@5 (0123456789abcdef) -> causal_forcing@9 (0123456789abcdef)"
    )


def test_a_malformed_record_is_refused():
    with pytest.raises(UserError, match="malformed"):
        Lineage.from_dict({"stage": "single_turn"})


@pytest.mark.parametrize(
    ("allowed", "parent", "said"),
    [
        ((), "single_turn", "starts from scratch"),
        (("a_stage", "single_turn"), None, "train that first"),
        (("single_turn",), None, "train that first, or name one with --parent"),
        (("causal_forcing", "consistency"), "single_turn", "given one of single_turn"),
    ],
)
def test_a_wrong_parent_is_refused(allowed, parent, said):
    with pytest.raises(UserError, match=said):
        check_parent("a_stage", allowed, make(parent) if parent else None)


def test_a_right_parent_passes():
    check_parent("single_turn", (), None)
    check_parent("single_turn", ("single_turn",), None)  # from scratch
    check_parent("single_turn", ("single_turn",), make("single_turn"))  # goes on
    check_parent("consistency", ("causal_forcing",), make("causal_forcing"))


def test_changes_of_a_stage_are_told_and_records_without_any_are_as_they_were():
    changes = (
        {"step": 4, "settings": {"optimizer.learning_rate": [0.01, 0.05]}},
        {"step": 8, "settings": {"data.batch": [2, 4], "content.sessions": ["a", "b"]}},
    )
    first = Lineage("single_turn", 12, "aa", {}, changes=changes)
    second = Lineage("causal_forcing", 9, "bb", {}, parent=first)
    again = Lineage.from_dict(json.loads(json.dumps(second.to_dict())))
    assert again == second and again.parent.changes == changes
    assert again.describe() == (
        "single_turn@12 (aa, changed behind step 4 and 8) -> causal_forcing@9 (bb)"
    )
    assert again.describe_changes() == [
        "single_turn behind step 4: optimizer.learning_rate: 0.01, then 0.05",
        "single_turn behind step 8: data.batch: 2, then 4",
        'single_turn behind step 8: content.sessions: "a", then "b"',
    ]
    assert "changes" not in make().to_dict()
