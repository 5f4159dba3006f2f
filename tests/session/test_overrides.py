"""Settings that whoever edits asks for, and kernels that a machine does not have."""

import pytest

from anchoredit_jax.checkpoint import assets
from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.session import load_editor
from anchoredit_jax.session.overrides import override_run, override_sampler
from anchoredit_jax.testing import tiny_run
from tests.session.editors import SOURCE, make_editor

LISTED = SamplerConfig(timesteps=(1000.0, 750.0, 500.0, 250.0))


def test_a_stored_kernel_gives_way_where_the_machine_lacks_it(caplog):
    run = tiny_run("single_turn", model=dict(attention="splash"))
    found = override_run(run)
    assert found.model.attention == "auto"
    assert len(caplog.messages) == 1 and "splash needs a TPU" in caplog.text
    assert override_run(run, attention="xla").model.attention == "xla"
    assert override_run(found) == found
    assert len(caplog.messages) == 1
    with pytest.raises(UserError, match="splash needs a TPU"):
        override_run(found, attention="splash")


def test_paths_are_of_the_parts_that_have_files():
    plain = tiny_run("single_turn")
    for flag in ("vae", "text"):
        with pytest.raises(UserError, match=f"--{flag} .* which reads none"):
            override_run(plain, **{flag: "folder"})
    wan = tiny_run(
        "single_turn",
        codec=dict(kind="wan_vae", wan_vae=dict(weights="/a.pth", tile=64)),
    )
    moved = override_run(wan, vae="/b.pth").codec.wan_vae
    assert (moved.weights, moved.tile) == ("/b.pth", 64)


def test_steps_and_shift_replace_a_list_of_timesteps():
    assert override_sampler(LISTED, guidance=None) is LISTED
    assert override_sampler(LISTED, guidance=2.0).timesteps == LISTED.timesteps
    for changes in (dict(steps=4), dict(shift=3.0)):
        found = override_sampler(LISTED, **changes)
        assert found.timesteps is None and len(found.schedule[0]) == 4
    assert found.shift == 3.0


def test_a_negative_text_is_what_the_unconditional_branch_sees(params):
    guided = SamplerConfig(steps=1, guidance=2.0)
    negative = override_sampler(guided, negative="add a hat")
    last = []
    for sampler in (guided, negative, override_sampler(guided, negative="")):
        session = make_editor(params, sampler=sampler).start(SOURCE)
        session.edit("make it blue")
        last.append(session.history[-1].latent)
    assert (last[0] != last[1]).any() and (last[0] == last[2]).all()
    with pytest.raises(UserError, match="guidance is 1, none at all"):
        override_sampler(LISTED, negative="add a hat")
    with pytest.raises(UserError, match="guidance is 1, none at all"):
        make_editor(params, sampler=SamplerConfig(negative="add a hat"))


def test_what_is_missing_is_named_before_the_weights_are_read(
    params, tmp_path, monkeypatch
):
    wan = dict(kind="wan_vae", wan_vae=dict(weights=str(tmp_path / "gone.pth")))
    run = tiny_run("single_turn", codec=wan)
    lineage = Lineage("single_turn", 1, "0" * 16, {})
    path = assets.save_bundle(tmp_path / "weights.safetensors", params, run, lineage)
    monkeypatch.setattr(assets, "load_weights", lambda *_: 1 / 0)
    with pytest.raises(UserError, match="gone.pth"):
        load_editor(path)
    with pytest.raises(UserError, match="float12"):
        load_editor(path, params_dtype="float12")
