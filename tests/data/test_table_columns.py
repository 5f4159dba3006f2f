"""The columns of published sets are found by their names; what a row holds is told."""

import pytest

from anchoredit_jax.data.sessions.tables.columns import choose_columns, value_at

# What their pages name, without columns that nobody reads.
SETS = {
    "MagicBrush": (
        "img_id turn_index source_img mask_img instruction target_img",
        "turn=turn_index source=source_img target=target_img instruction=instruction "
        "session=img_id",
    ),
    "InstructPix2Pix": (
        "original_prompt original_image edit_prompt edited_prompt edited_image",
        "source=original_image target=edited_image instruction=edit_prompt",
    ),
    "UltraEdit": (
        "source_caption target_caption edit_prompt edit_object source_image "
        "edited_image mask_image ssim",
        "source=source_image target=edited_image instruction=edit_prompt",
    ),
    "HQ-Edit": (
        "input input_image edit inverse_edit output output_image",
        "source=input_image target=output_image instruction=edit",
    ),
    "Pico-Banana, turns": (
        "files metadata_edit_turn_prompts local_input_image",
        "source=local_input_image files=files instruction=metadata_edit_turn_prompts",
    ),
    "Pico-Banana, pairs": (
        "open_image_input_url text output_image edit_type summarized_text "
        "local_input_image",
        "source=local_input_image target=output_image instruction=text "
        "instruction.short=summarized_text",
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_columns_of_published_sets(name):
    names, wanted = SETS[name]
    found = choose_columns(names.split(), (), name)
    told = [f"{role}={path}" for role, path in found.paths]
    assert sorted(told) == sorted(wanted.split())
    assert found.by_turn == (name == "MagicBrush")
    assert found.describe().startswith(
        "one row a turn" if found.by_turn else "one row a session"
    )


def test_languages_paths_and_roles_that_are_taken_away():
    names = ["source", "target", "instruction_zh", "instruction_en", "id"]
    paths = dict(choose_columns(names, (), "t").paths)
    assert paths["instruction.zh"] == "instruction_zh" and "instruction" not in paths
    assert paths["session"] == "id"
    assert "session" not in dict(choose_columns(names, (("session", ""),), "t").paths)
    row = {"a": {"b": ["x", {"c": 1}]}, "a.b": 2, "n": None, "t": "text"}
    assert value_at(row, "a.b") == 2 and value_at(row, "a.b.1.c") == 1
    row.pop("a.b")
    assert value_at(row, "a.b.1.c") == 1 and value_at(row, "a.b.0") == "x"
    for path in ("a.b.9", "n.x", "t.0", "gone", "a.b.c"):
        assert value_at(row, path) is None
