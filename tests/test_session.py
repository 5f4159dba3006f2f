"""Sessions: going back is exact, branches share, saving loses nothing, one compile."""

import dataclasses
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.models.codec import PatchCodec
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.text import NgramTextEncoder
from anchoredit_jax.models.transformer import Transformer
from anchoredit_jax.session import Editor, EditSession, load_editor
from anchoredit_jax.session.contact_sheet import (
    draw_contact_sheet,
    load_font,
    to_sheet_size,
    wrap,
)

MODEL = TransformerConfig(
    dim=32, ffn_dim=32, num_heads=2, num_layers=2, channels=16, text_dim=8, freq_dim=8
)
PROMPTS = ("make it blue", "add a hat", "", "remove the hat", "make it red", "go on")
SOURCE = np.random.default_rng(0).integers(0, 256, (20, 16, 3), np.uint8)


class CountingCodec(PatchCodec):
    encoded = 0

    def encode(self, images):
        self.encoded += 1
        return super().encode(images)


def make_editor(params, **changes) -> Editor:
    values = dict(
        params=params,
        run=types.SimpleNamespace(model=MODEL, data=types.SimpleNamespace(size=16)),
        codec=CountingCodec(2),
        text=NgramTextEncoder(length=6, dim=8),
        memory=MemoryConfig(sink=1, window=2),
        sampler=SamplerConfig(steps=2),
        lineage=Lineage("consistency", 7, "0123456789abcdef", {}),
    )
    return Editor(**{**values, **changes})


@pytest.fixture(scope="module")
def params():
    """Random, larger than at the start of training, so that every input matters."""
    shapes = ((1, 2, 8, 8, 16), (1, 2), (1, 1, 6, 8))
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    tree = jax.eval_shape(Transformer(MODEL).init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * rng.standard_normal(leaf.shape), jnp.float32),
        tree["params"],
    )


# Compiling is what takes time here: most tests share one of these two editors.
@pytest.fixture(scope="module")
def editor(params):
    return make_editor(params)


@pytest.fixture(scope="module")
def full_editor(editor):
    return editor.with_settings(memory=MemoryConfig(window=None), max_turns=6)


def edited(editor, prompts=PROMPTS, **options) -> EditSession:
    session = editor.start(SOURCE, **options)
    for prompt in prompts:
        session.edit(prompt)
    return session


def assert_equal_turns(a, b):
    """Equal in every bit: instructions, pixels, latents and memories."""
    assert len(a) == len(b)
    for left, right in zip(a, b, strict=True):
        assert (left.number, left.instruction) == (right.number, right.instruction)
        np.testing.assert_array_equal(left.pixels, right.pixels)
        for x, y in zip(
            jax.tree.leaves((left.latent, left.memory)),
            jax.tree.leaves((right.latent, right.memory)),
            strict=True,
        ):
            np.testing.assert_array_equal(x, y)


def test_editing_gives_images_of_the_source_crop(editor):
    session = editor.start(SOURCE)
    image = session.edit("make it blue")
    assert isinstance(image, Image.Image) and image.size == (16, 16)
    assert session.crop.box == (0, 2, 16, 18)
    assert np.array_equal(session.history[0].image, SOURCE[2:18])
    assert np.array_equal(session.image, image) and session.turn == 1
    large = editor.start(SOURCE.repeat(5, 0).repeat(5, 1))
    assert large.edit("make it blue").size == (80, 80)
    assert large.history[1].model_image.size == (16, 16)


def test_a_file_can_be_edited(editor, tmp_path):
    Image.fromarray(SOURCE).save(tmp_path / "a.png")
    a, b = editor.start(tmp_path / "a.png"), editor.start(SOURCE)
    assert np.array_equal(a.edit("make it blue"), b.edit("make it blue"))
    with pytest.raises(UserError, match="b.png' does not exist"):
        editor.start(tmp_path / "b.png")


def test_instruction_and_seed_matter(editor):
    plain = edited(editor)
    assert not np.array_equal(plain.image, edited(editor, ("x",) + PROMPTS[1:]).image)
    assert not np.array_equal(plain.image, edited(editor, seed=1).image)
    own = editor.start(SOURCE)
    own.edit(PROMPTS[0], seed=5)
    assert not np.array_equal(own.image, plain.history[1].image)
    assert [turn.seed for turn in own.history] == [None, 5]


def test_the_memory_matters_and_the_source_stays_in_it(editor):
    other = editor.start(255 - SOURCE)
    for prompt in PROMPTS:
        other.edit(prompt)
    # The window rolled long ago; only the sink still tells the sources apart.
    assert not np.array_equal(other.image, edited(editor).image)
    assert 0 in np.asarray(other.history[-1].memory.frames)


def test_undo_after_the_window_has_rolled_equals_a_fresh_session(editor):
    session = edited(editor)
    session.undo(4)
    session.edit("something else")
    session.edit("and more")
    fresh = edited(editor, (*PROMPTS[:2], "something else", "and more"))
    assert_equal_turns(session.history, fresh.history)


def test_undo_to_the_source_takes_another_first_instruction(editor):
    session = edited(editor)
    assert np.array_equal(session.undo(len(PROMPTS)), SOURCE[2:18])
    session.edit("make it green")
    assert_equal_turns(session.history, edited(editor, ("make it green",)).history)


def test_goto_moves_both_ways_until_the_next_edit(editor):
    session = edited(editor)
    last = session.image
    first = session.goto(1)
    assert np.array_equal(first, session.history[1].image)
    assert session.turn == 1 and len(session.history) == 2
    assert np.array_equal(session.goto(len(PROMPTS)), last)
    session.goto(1)
    session.edit("another way")
    with pytest.raises(UserError, match="no turn 3.*0 .the source. to 2"):
        session.goto(3)


@pytest.mark.parametrize("turns", [0, -1, 7])
def test_undo_of_turns_that_are_not_there_is_refused(editor, turns):
    session = edited(editor)
    with pytest.raises(UserError, match=f"cannot undo {turns} turns: 6 turns"):
        session.undo(turns)
    with pytest.raises(UserError, match="no turn -1"):
        session.goto(-1)
    assert session.turn == 6


def test_branches_are_independent_and_share_buffers(editor):
    trunk = edited(editor, PROMPTS[:3])
    branch = trunk.branch()
    assert all(a is b for a, b in zip(trunk.history, branch.history, strict=True))
    branch.edit("make it red")
    assert len(trunk.history) == 4 and len(branch.history) == 5
    trunk.edit(PROMPTS[3])
    assert_equal_turns(trunk.history, edited(editor, PROMPTS[:4]).history)
    expected = edited(editor, (*PROMPTS[:3], "make it red"))
    assert_equal_turns(branch.history, expected.history)


def test_a_branch_of_an_earlier_turn_has_no_later_ones(editor):
    session = edited(editor, PROMPTS[:3])
    session.undo()
    branch = session.branch()
    with pytest.raises(UserError, match="no turn 3"):
        branch.goto(3)


def test_results_do_not_depend_on_the_order_of_sessions(editor):
    a, b = editor.start(SOURCE), editor.start(255 - SOURCE)
    for prompt in PROMPTS[:3]:
        a.edit(prompt)
        b.edit(prompt)
    c, d = editor.start(255 - SOURCE), editor.start(SOURCE)
    for prompt in PROMPTS[:3]:
        c.edit(prompt)
    for prompt in PROMPTS[:3]:
        d.edit(prompt)
    assert_equal_turns(a.history, d.history)
    assert_equal_turns(b.history, c.history)


def test_a_saved_session_reloads_equal_in_every_bit(params, tmp_path):
    sampler = SamplerConfig(steps=2, guidance=1.5)
    session = edited(make_editor(params, sampler=sampler), PROMPTS[:4], seed=3)
    session.edit("make it red", seed=9)
    path = tmp_path / "folder" / "a.session"
    session.save(path)
    assert [p.name for p in path.parent.iterdir()] == ["a.session"]
    # Another editor of the same weights: nothing compiled, other settings.
    loaded = EditSession.load(path, make_editor(params))
    assert_equal_turns(session.history, loaded.history)
    assert loaded.crop == session.crop and loaded.seed == 3
    assert [turn.seed for turn in loaded.history] == [None, 3, 3, 3, 3, 9]
    assert np.array_equal(session.edit("go on"), loaded.edit("go on"))


def test_saving_keeps_the_history_up_to_the_current_turn(editor, tmp_path):
    session = edited(editor)
    session.undo(2)
    session.save(tmp_path / "a")
    assert len(EditSession.load(tmp_path / "a", editor).history) == 5


def test_a_session_without_turns_can_be_saved(editor, tmp_path):
    editor.start(SOURCE, seed=4).save(tmp_path / "a")
    loaded = EditSession.load(tmp_path / "a", editor)
    loaded.edit(PROMPTS[0])
    expected = edited(editor, PROMPTS[:1], seed=4)
    assert_equal_turns(loaded.history, expected.history)


def test_loading_reuses_the_compiled_programs_of_an_equal_editor(editor, tmp_path):
    editor.start(SOURCE).save(tmp_path / "a")
    assert EditSession.load(tmp_path / "a", editor).editor is editor


def test_wrong_session_files_are_refused(editor, params, tmp_path):
    with pytest.raises(UserError, match="a' does not exist"):
        EditSession.load(tmp_path / "a", editor)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UserError, match="text' is not a session file"):
        EditSession.load(tmp_path / "text", editor)
    save_file({"x": np.zeros(1)}, tmp_path / "weights")
    with pytest.raises(UserError, match="weights' is not a session file"):
        EditSession.load(tmp_path / "weights", editor)
    session = edited(editor, PROMPTS[:1])
    session.save(tmp_path / "good")
    record = {key: v for key, v in session.record().items() if key != "crop"}
    metadata = {"session": json.dumps(record)}
    save_file({"latents": np.zeros(1)}, tmp_path / "bad", metadata)
    with pytest.raises(UserError, match="bad' is damaged"):
        EditSession.load(tmp_path / "bad", editor)
    other = make_editor(params, lineage=Lineage("consistency", 8, "f" * 16, {}))
    with pytest.raises(UserError, match="made with weights 0123456789abcdef.*f{16}"):
        EditSession.load(tmp_path / "good", other)


def test_a_file_that_cannot_be_written_is_a_user_error(editor, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        editor.start(SOURCE).save(tmp_path / "file" / "a")


def test_weights_that_moved_away_are_named(params, tmp_path):
    editor = make_editor(params, checkpoint=str(tmp_path / "gone"))
    editor.start(SOURCE).save(tmp_path / "a")
    with pytest.raises(UserError, match="weights of session .*pass an editor.*gone"):
        EditSession.load(tmp_path / "a")


def test_the_codec_encodes_once_a_session(editor, tmp_path):
    before = editor.codec.encoded
    session = edited(editor)
    session.undo(2)
    session.branch().edit("make it red")
    session.save(tmp_path / "a")
    EditSession.load(tmp_path / "a", editor).edit("and more")
    assert editor.codec.encoded == before + 1


def test_nothing_is_compiled_after_the_first_turn(editor):
    session = editor.start(SOURCE)
    session.edit(PROMPTS[0])
    names = []

    def record(name, *_, **__):
        names.append(name)

    jax.monitoring.register_event_duration_secs_listener(record)
    try:
        for number in range(5):
            session.edit(f"turn {number}", seed=number)
        session.undo(6)
        session.edit("from the source again")
        session.branch().edit("to the left")
        editor.start(255 - SOURCE, seed=8).edit("another image")
    finally:
        jax.monitoring.unregister_event_duration_listener(record)
    assert not [name for name in names if "compile" in name]
    assert [program._cache_size() for program in editor.programs] == [1, 1, 1]


def test_the_memory_does_not_grow(editor):
    session = edited(editor)
    shapes = {str(jax.tree.map(jnp.shape, turn.memory)) for turn in session.history[1:]}
    assert len(shapes) == 1


def test_a_full_history_is_full_at_max_turns(params, full_editor):
    session = edited(full_editor)
    with pytest.raises(UserError, match="at most 6 turns"):
        session.edit("one more")
    session.undo()
    session.edit("instead")
    with pytest.raises(UserError, match="give load_editor max_turns"):
        make_editor(params, memory=MemoryConfig(window=None)).start(SOURCE)


def test_full_history_and_window_agree_until_the_window_rolls(editor, full_editor):
    a, b = edited(editor), edited(full_editor)
    for turn in range(1, 3):
        np.testing.assert_allclose(
            a.history[turn].latent, b.history[turn].latent, atol=1e-3
        )
    assert not np.allclose(a.history[-1].latent, b.history[-1].latent, atol=1e-2)


@pytest.mark.parametrize("instruction", [None, 3, b"blue"])
def test_a_missing_instruction_is_an_error_and_changes_nothing(editor, instruction):
    session = edited(editor, PROMPTS[:2])
    with pytest.raises(UserError, match="an instruction must be text"):
        session.edit(instruction)
    with pytest.raises(UserError, match="7 words.*at most 6"):
        session.edit("one two three four five six seven")
    assert session.turn == 2


@pytest.mark.parametrize("seed", [-1, 2**31, 1.5, True, "x"])
def test_seeds_out_of_range_are_refused(editor, seed):
    with pytest.raises(UserError, match="a seed must be"):
        editor.start(SOURCE, seed=seed)
    with pytest.raises(UserError, match="a seed must be"):
        editor.start(SOURCE).edit("make it blue", seed=seed)


def test_settings_can_be_replaced(editor, full_editor):
    assert editor.with_settings() is editor
    assert editor.with_settings(memory=MemoryConfig(1, 2), max_turns=9) is editor
    more = editor.with_settings(sampler=SamplerConfig(steps=3))
    assert more.sampler.steps == 3 and more.memory == editor.memory
    assert more.params is editor.params and more.programs is not editor.programs
    assert full_editor.memory.window is None and full_editor.max_turns == 6
    assert full_editor.with_settings(MemoryConfig(1, 2)).max_turns is None


def test_parts_that_do_not_fit_are_refused(params):
    with pytest.raises(UserError, match="latent channels: 7 .* 16"):
        make_editor(params, codec=PatchCodec(1))
    with pytest.raises(UserError, match="text embedding width: 4 .* 8"):
        make_editor(params, text=NgramTextEncoder(6, 4))
    run = types.SimpleNamespace(model=MODEL, data=types.SimpleNamespace(size=18))
    with pytest.raises(UserError, match="side 18 .*multiple of 4 .*nearest is 16"):
        make_editor(params, run=run)


def test_the_record_holds_all_that_is_needed_to_repeat(editor):
    session = edited(editor, PROMPTS[:2], seed=3)
    record = session.record()
    assert json.loads(json.dumps(record)) == record
    assert record["turns"] == [
        {"instruction": "make it blue", "seed": 3},
        {"instruction": "add a hat", "seed": 3},
    ]
    assert record["checkpoint"]["digest"] == "0123456789abcdef"
    assert record["memory"] == dataclasses.asdict(editor.memory)
    assert record["sampler"]["steps"] == 2
    assert record["crop"]["box"] == [0, 2, 16, 18]
    assert record["version"] and record["seed"] == 3


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        load_editor(tmp_path / "nowhere")


def test_contact_sheet_shows_every_frame_enlarged_without_smoothing():
    frames = [np.full((32, 32, 3), 10 * n, np.uint8) for n in range(13)]
    frames[3][0, 0] = 255
    sheet = np.asarray(draw_contact_sheet(frames, [f"turn {n}" for n in range(13)]))
    shown = {tuple(row) for row in sheet.reshape(-1, 3)}
    assert {(10 * n,) * 3 for n in range(13)} <= shown
    assert sheet.shape[1] > 4 * 192
    enlarged = to_sheet_size(frames[3])
    assert enlarged.shape == (192, 192, 3)
    assert (enlarged[:6, :6] == 255).all() and (enlarged[6:] == 30).all()


def test_large_and_narrow_frames_fit_the_contact_sheet():
    assert to_sheet_size(np.zeros((1000, 500, 3), np.uint8)).shape == (320, 160, 3)
    frames = [np.zeros((90, 30, 3), np.uint8)] * 2
    assert draw_contact_sheet(frames, ["source", "word " * 40]).width > 2 * 192


def test_captions_are_wrapped_to_the_width():
    font = load_font(15)
    text = "paint the circle at the bottom right green " + "x" * 80
    lines = wrap(text, font, 192)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert max(font.getlength(line) for line in lines) <= 192
    assert len(lines) > 3 and wrap("", font, 192) == [""]


def test_captions_do_not_overlap_the_frames():
    frames = [np.zeros((32, 32, 3), np.uint8)] * 3
    bare = np.asarray(draw_contact_sheet(frames, ["", "", ""], columns=3))
    long = np.asarray(draw_contact_sheet(frames, ["a", "long " * 30, "b"], columns=3))
    height = 14 + 192
    np.testing.assert_array_equal(long[:height], bare[:height])
    assert (long[height + 5 :] < 200).any() and long.shape[0] > bare.shape[0]
    assert (bare[height:] == 255).all()
