"""What an editor or a type checker knows of the public names; basedpyright reads it.

Nothing runs it. An ignored error that is none is an error here: with names that are
anything, the last line would be one.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from typing import assert_type

from PIL import Image

from anchoredit_jax import (
    Editor,
    EditSession,
    edit_together,
    evaluate,
    load_config,
    load_editor,
    run_stage,
)
from anchoredit_jax.evaluation import Contestant, Settings, parse_policies
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.training.loop import StageResult

editor = assert_type(load_editor("W"), Editor)
session = assert_type(editor.start("photo.png"), EditSession)
assert_type(session.edit("make it blue"), Image.Image)
assert_type(edit_together([session], "make it red"), list[Image.Image])
run = assert_type(load_config("config.py"), RunConfig)
assert_type(run_stage(run, "W"), StageResult)
contestant = Contestant("mine", "W", editor, editor.sampler)
settings = Settings(parse_policies("sink1_window3"))
assert_type(evaluate([contestant], settings, "report"), dict)

from anchoredit_jax import load_editr  # noqa: E402, F401  # pyright: ignore[reportAttributeAccessIssue]
