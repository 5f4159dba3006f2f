import itertools

import jax
import pytest

from anchoredit_jax import config as configs
from anchoredit_jax.config import (
    load_config,
    parse_arg,
    run_from_dict,
    run_from_json,
    with_argument,
)
from anchoredit_jax.errors import UserError
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.training import loop

SPRITES = "configs/sprites.py"


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


@pytest.mark.parametrize("preset", ["full", "quick"])
@pytest.mark.parametrize("stage", STAGES)
def test_every_sprite_config_is_built_and_reads_back(stage, preset):
    run = load_config(f"{SPRITES}:stage={stage},preset={preset}")
    assert run.stage == stage
    assert run.optimizer.steps == run.loop.steps
    assert run_from_json(run.to_json()) == run
    assert hash(run_from_json(run.to_json())) == hash(run)


@pytest.mark.parametrize("stage", STAGES)
def test_every_sprite_config_can_be_traced(stage):
    # Shapes only: the state and the step of the full toy on a real batch.
    run = load_config(f"{SPRITES}:stage={stage}")
    batch = loop.make_dataset(run, *loop.make_codec_and_text(run))[0]
    first = run.replace(stage="single_turn", options=STAGES["single_turn"].options())
    scratch = jax.eval_shape(lambda: STAGES["single_turn"].init_state(first, None))
    parent = {"params": scratch.params, "ema": scratch.ema, "teacher": scratch.ema}
    state = jax.eval_shape(
        lambda trees: STAGES[stage].init_state(run, trees),
        parent if STAGES[stage].parents else None,
    )
    after, metrics = jax.eval_shape(
        STAGES[stage].make_train_step(run).step, state, batch
    )
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert metrics["loss"].shape == ()


def test_stages_of_the_curriculum_share_the_model():
    runs = [load_config(f"{SPRITES}:stage={stage}") for stage in STAGES]
    for left, right in itertools.pairwise(runs):
        assert (left.model, left.codec, left.text) == (
            right.model,
            right.codec,
            right.text,
        )


@pytest.mark.parametrize(
    ("arg", "said"),
    [
        ("stage=two", "unknown stage 'two'"),
        ("preset=huge", "unknown preset 'huge'"),
        ("size=13b", "unknown size '13b'"),
        ("stpes=4", "unknown config argument 'stpes': did you mean 'steps'"),
        ("steps=many", "'steps': expected int, given 'many'"),
        ("steps=-1", "'steps' must be 1 or more"),
        ("steps=1,steps=2", "'steps' is given twice"),
        ("steps", "expected key=value"),
        ("data.bacth=4", "'data.bacth' .nothing reads it.: did you mean 'batch'"),
        ("dta.batch=4", "unknown config section 'dta': did you mean 'data'"),
        ("options.rollout.kind=none", "'options.rollout' .nothing reads it."),
        (
            "stage=causal_forcing,options.history=x",
            "options.history must be one of in_sequence, beside, given 'x'",
        ),
        ("options.loss.hard_share=0", r"hard_share must be in \(0, 1\]"),
        ("model.prediction=x", "model.prediction must be one of"),
        ("data.batch=four", "'data.batch': expected int"),
        ("loop.steps=0", r"loop.steps must be in \[1, "),
    ],
)
def test_a_wrong_argument_is_one_line(arg, said):
    with pytest.raises(UserError, match=said) as error:
        load_config(f"{SPRITES}:{arg}")
    assert "\n" not in str(error.value)


def test_arguments_and_dotted_names_reach_their_fields():
    run = load_config(
        f"{SPRITES}:stage=causal_forcing,steps=70,seed=5,data.batch=3,"
        "options.rollout.kind=sequential,options.memory_policies=[[0,0],[1,2]],"
        "sampler.timesteps=[1000,500.5],memory.window=none,data.sprites.weights.move=7,"
        "options.rollout.probability=.5"
    )
    assert (run.loop.steps, run.optimizer.steps, run.seed, run.data.seed) == (
        70,
        70,
        5,
        5,
    )
    assert run.data.batch == 3 and run.data.sprites.weights["move"] == 7.0
    assert len(run.data.sprites.weights) > 1
    assert run.options.rollout.kind == "sequential"
    assert run.options.rollout.probability == 0.5
    assert run.options.memory_policies == ((0, 0), (1, 2))
    assert run.sampler.timesteps == (1000.0, 500.5)
    assert run.memory.window is None


def test_none_is_a_name_where_the_field_holds_names():
    """The config's own documentation says `options.rollout.kind=none`."""
    run = load_config(f"{SPRITES}:stage=causal_forcing,options.rollout.kind=none")
    assert run.options.rollout.kind == "none"


@pytest.mark.parametrize("nothing", ["none", "None", "null"])
def test_none_is_no_value_where_a_field_may_be_empty(nothing):
    run = load_config(f"{SPRITES}:memory.window={nothing},data.records={nothing}")
    assert run.memory.window is None and run.data.records is None


def test_arguments_have_the_types_of_their_defaults():
    defaults = dict(a=1, b=0.5, c=True, d="x", e=None)
    given, dotted = parse_arg("a=2,b=3,c=false,d=7,e=8,f.g=[1,2],f.h=true", defaults)
    assert given == dict(a=2, b=3.0, c=False, d="7", e="8")
    assert isinstance(given["b"], float) and given["c"] is False
    assert dotted == {"f.g": [1, 2], "f.h": True}
    for wrong in ("a=1.5", "a=true", "b=x", "c=1"):
        with pytest.raises(UserError, match="expected"):
            parse_arg(wrong, defaults)


def test_a_config_file_that_cannot_be_read_is_one_line(tmp_path):
    empty, broken, text = (tmp_path / n for n in ("empty.py", "broken.py", "text.txt"))
    empty.write_text("")
    broken.write_text("def get_config(:\n")
    text.write_text("stage = 1")
    for path, said in (
        (tmp_path / "none.py", "does not exist"),
        (empty, "has no get_config"),
        (broken, "broken.py.*invalid syntax"),
        (text, "is not a Python file"),
        (tmp_path, "does not exist"),
    ):
        with pytest.raises(UserError, match=said):
            load_config(str(path))


def test_a_stage_can_be_added_to_a_spec():
    assert with_argument("a.py", "stage", "x") == "a.py:stage=x"
    assert with_argument("a.py:b=[1,2],c=3", "stage", "x") == "a.py:stage=x,b=[1,2],c=3"
    with pytest.raises(UserError, match="leave 'stage=' out"):
        with_argument("a.py:steps=3,stage=y", "stage", "x")


def test_differing_keys_are_named_by_their_dotted_path():
    left = load_config(f"{SPRITES}:stage=causal_forcing")
    right = load_config(
        f"{SPRITES}:stage=causal_forcing,seed=1,options.rollout.probability=0.9,"
        "data.sprites.weights.move=9"
    )
    assert configs.differing_keys(left, left) == []
    assert configs.differing_keys(left, right) == [
        "data.seed",
        "data.sprites.weights.move",
        "options.rollout.probability",
        "seed",
    ]


def test_a_config_without_a_stage_or_with_an_unread_key_is_refused():
    with pytest.raises(UserError, match="'stage' must name a stage"):
        run_from_dict({"seed": 1})
    with pytest.raises(UserError, match="'optimiser': did you mean 'optimizer'"):
        run_from_dict({"stage": "single_turn", "optimiser": {}})
    with pytest.raises(UserError, match="'seed': expected int"):
        run_from_dict({"stage": "single_turn", "seed": "a"})
