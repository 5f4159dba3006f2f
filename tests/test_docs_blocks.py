"""What the pages show to be typed works.

Every `bash` and `python` block is run, or says in a comment before it why not:
`<!-- not run: it needs a pod -->`. They run with `-m slow`. By default what can be told
without running is checked, also of those that are not run: flags and settings of
commands, names that Python imports.
"""

import ast
import contextlib
import dataclasses
import functools
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.config import load_config
from anchoredit_jax.errors import UserError
from docs.making.commands import parser_of
from tests.test_docs import extras_of_setup

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<why>[^\n]{10,}) -->\n)?"
    r"```(?P<language>bash|python)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# Python of these pages is run by tests of their own.
ELSEWHERE = {
    "CONTRIBUTING.md": "test_contributing.py",
    "export.md": "parity/test_export_guide.py",
}
# Commands of others, and what makes environments.
OTHERS = ("git", "cd", "source", "mkdocs", "pre-commit", "python3", "hf")


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of a page; `why` says why it is not run, None that it is."""

    page: str
    language: str
    text: str
    why: str | None


BLOCKS = [
    Block(page.name, found["language"], found["text"], found["why"])
    for page in PAGES
    for found in FENCE.finditer(page.read_text())
]


def commands(text: str) -> list[list[str]]:
    """The commands of a block, each as its words."""
    lines = text.replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in line.split("&&")]
    return [words for part in parts if (words := shlex.split(part, comments=True))]


@functools.cache
def parser(script: Path):
    return parser_of(script)


def check(words: list[str]) -> None:
    """Flags and settings of a command, without running it."""
    program, *rest = words
    if program == "pip":
        extras = re.findall(r"\[([\w,]+)\]", " ".join(rest))
        known = extras_of_setup()
        assert set(",".join(extras).split(",")) - {""} <= set(known), words
    elif program == "bash":
        script, arguments = ROOT / rest[0], rest[1:]
        assert script.is_file(), words
        if script.with_suffix(".py").is_file():
            check(["python", f"{rest[0].removesuffix('.sh')}.py", *arguments])
        else:
            flags = [word for word in arguments if word.startswith("--")]
            assert all(flag in script.read_text() for flag in flags), words
    elif program == "python" and rest[0].startswith("launch/"):
        script = ROOT / rest[0]
        assert script.is_file(), words
        args = parser(script).parse_args(rest[1:])
        if getattr(args, "config", None):
            load_config(args.config)
    elif program == "python" and rest[0].endswith(".py"):
        assert (ROOT / rest[0]).is_file(), words
    else:
        assert program in OTHERS or rest[0] in ("-m", "-c"), words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_and_settings_are_known(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for block in BLOCKS:
        if (block.page, block.language) == (page.name, "bash"):
            for words in commands(block.text):
                check(words)


def test_what_is_not_known_is_found(monkeypatch):
    monkeypatch.chdir(ROOT)
    for line in (
        "python launch/edit.py --imagine cat.png --out r",
        "python launch/train.py --config configs/sprites.py:stages=all --workdir W",
        "python launch/watch.py --workdir W && bash launch/quickstart.sh --fuller",
        'pip install -e ".[app,apps]"',
        "python launch/reproduce.py repeat",
        "anchorage edit",
    ):
        with pytest.raises((UserError, AssertionError)):
            for words in commands(line):
                check(words)


def test_fences_are_all_found():
    for page in PAGES:
        fences = re.findall(r"^ *```(?:bash|python)$", page.read_text(), re.M)
        assert len(fences) == sum(block.page == page.name for block in BLOCKS), page
    assert sum(block.language == "python" for block in BLOCKS) >= 7
    assert sum(block.why is None for block in BLOCKS) >= 10


def test_python_that_is_run_elsewhere_is_read_there():
    for page, test in ELSEWHERE.items():
        assert page in (ROOT / "tests" / test).read_text()


def test_python_imports_what_there_is():
    for block in BLOCKS:
        if block.language == "python" and block.page not in ELSEWHERE:
            found = [
                node
                for node in ast.walk(ast.parse(block.text, block.page))
                if isinstance(node, ast.ImportFrom)
            ]
            assert found, block.text
            for node in found:
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """An empty folder that looks like the clone; what is written stays in it."""
    for name in ("anchoredit_jax", "benchmarks", "configs", "launch"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_python_runs(clone):
    """All of it with the toy, in one process and in the order of a page."""
    pages = {block.page for block in BLOCKS if block.language == "python"}
    for page in sorted(pages - set(ELSEWHERE)):
        names: dict = {}
        for block in BLOCKS:
            if (block.page, block.language, block.why) == (page, "python", None):
                exec(compile(block.text, page, "exec"), names)
    with Image.open("turn_2.png") as image:
        assert image.size == (256, 256)


@pytest.mark.slow
def test_commands_run(clone):
    """In the order in which a reader meets the pages; some use what others wrote."""
    session = clone / "my_sessions" / "beach"
    session.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(session / f"beach.{number}.jpg")
    told = '{"instructions": [{"en": "make it night"}, {"en": "add a boat"}]}'
    (session / "beach.json").write_text(told)
    environment = dict(os.environ, JAX_PLATFORMS="cpu")
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment.pop("XLA_FLAGS", None)
    order = ["start.md", "edit.md", "train.md", "reproduce.md", "watch.md"]
    (clone / "W").symlink_to("T")  # what pages call a workdir that was trained
    pages = [block.page for block in BLOCKS]
    for page in dict.fromkeys([*order, *pages]):
        for block in BLOCKS:
            if (block.page, block.language, block.why) != (page, "bash", None):
                continue
            with contextlib.suppress(FileNotFoundError):  # pages share this name
                (clone / "result").rename(clone / f"result_{page}")
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.text],
                cwd=clone,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{page}: {block.text}\n{done.stderr}"
    for made in ("further/contact_sheet.png", "prepared", "W/watch.html"):
        assert (clone / made).exists(), made
