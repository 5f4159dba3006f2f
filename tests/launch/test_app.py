"""The page's script: what it refuses, and the page in a browser.

The browser's tests are slow; ANCHOREDIT_SCREENSHOTS=docs keeps their pictures, and
ANCHOREDIT_REQUIRE_BROWSER=1 makes them fail, not skip, where they cannot run.
"""

import contextlib
import importlib.util
import io
import json
import os
import runpy
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.data.images import decode_image, fit_image, map_back
from anchoredit_jax.session import EditSession
from tests.launch import chromium

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch" / "app.py"
SAMPLE = ROOT / "anchoredit_jax" / "assets" / "sample.png"
EDITS = ("add a red circle at the top left", "make the background blue",
         "cover the subject")  # fmt: skip
SEVEN = (
    *EDITS[:2], "uncover the subject", "make the background green",
    "remove the red circle", "cover the subject", "uncover the subject",
)  # fmt: skip
FIELD = "#instruction textarea, #instruction input"


def refused(capsys, *flags):
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(SCRIPT))["main"](list(flags))
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_without_gradio_the_extra_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(
        sys.modules, "anchoredit_jax.session.page_layout", raising=False
    )
    told = refused(capsys)
    assert told.startswith("error: the page needs Gradio") and told.count("\n") == 1
    assert "pip install 'anchoredit_jax[app]'" in told


def test_wrong_flags_are_refused(capsys):
    assert "--port: invalid int value: 'x'" in refused(capsys, "--port", "x")


def need_browser() -> None:
    """Skip, or fail where a browser is required, unless the page can be tested."""
    gradio = importlib.util.find_spec("gradio")
    chromium.need(*(["gradio (pip install -e '.[app]')"] if gradio is None else []))


def test_without_a_browser_the_page_is_skipped_unless_one_is_required(monkeypatch):
    monkeypatch.setattr(chromium, "BINARY", None)
    monkeypatch.delenv("ANCHOREDIT_REQUIRE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs .*chromium on the PATH"):
        need_browser()
    monkeypatch.setenv("ANCHOREDIT_REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match="needs .*chromium on the PATH"):
        need_browser()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of the page, with the shipped weights, in a process of its own."""
    need_browser()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("app")
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    environment["GRADIO_TEMP_DIR"] = environment["TMPDIR"] = str(folder)
    environment["NO_PROXY"] = "127.0.0.1,localhost"
    with open(folder / "log", "w") as log:
        app = subprocess.Popen(
            [sys.executable, str(SCRIPT), "--port", str(port)],
            cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}/"
        wait_for(url, app, folder / "log")
        yield url
    finally:
        app.terminate()
        app.wait(20)


def wait_for(url: str, app: subprocess.Popen, log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(1200):
        assert app.poll() is None, log.read_text()
        with contextlib.suppress(urllib.error.URLError, TimeoutError):
            direct.open(url, timeout=10).close()
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            app.wait(0.5)
    raise AssertionError(f"no page at {url}: {log.read_text()}")


@pytest.fixture
def browser(address, tmp_path):
    with chromium.Chromium(tmp_path) as opened:
        opened.send("Page.navigate", url=address)
        opened.wait("document.querySelector('#edit') !== null")
        yield opened


def status(browser, text):
    """Wait until the line on where one is says `text`."""
    told = "document.querySelector('#status')?.innerText ?? ''"
    return browser.wait(f"(told => told.includes({json.dumps(text)}) && told)({told})")


def edit(browser, text, turn):
    browser.type(FIELD, text)
    browser.key("Enter")
    status(browser, f"turn {turn}, seed 0")
    browser.wait(f"document.querySelector({FIELD!r}).value === ''")


def turns(browser):
    """Captions of the strip."""
    return browser.run(
        "[...document.querySelectorAll('#strip .thumbnail-item img')].map(i => i.alt)"
    )


def pixels(browser, name):
    """uint8 [H, W, 3] of one of the three images."""
    find = f"document.querySelector('#{name} img')"
    browser.wait(f"{find}?.complete && {find}.naturalWidth > 0")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(browser.run(f"{find}.src")) as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read())).convert("RGB"))


@pytest.mark.slow
def test_edits_undo_branch_and_download_in_a_browser(browser, tmp_path):
    # Without an image, and with one that is none: a message, and nothing else happens.
    browser.click("#undo")
    status(browser, "no image is open")
    (tmp_path / "text.png").write_text("not an image")
    browser.upload("#upload input[type=file]", tmp_path / "text.png")
    status(browser, "not an image that can be read")
    browser.wait("document.querySelector('#upload input[type=file]') !== null")

    browser.upload("#upload input[type=file]", SAMPLE)
    status(browser, "the source")
    watch_progress(browser)
    for turn, text in enumerate(EDITS, start=1):
        edit(browser, text, turn)
    told = " ".join(browser.run("[...window.told]"))
    assert "compiling for 32 x 32, once" in told and "4/4 steps" in told
    assert browser.run("window.gone") == 0, "a picture was gone during an edit"
    captions = [f"{turn}. {text}" for turn, text in enumerate(EDITS, start=1)]
    assert turns(browser) == ["source", *captions]
    last = pixels(browser, "result")
    seen = map_back(*fit_image(decode_image(SAMPLE), (32, 32)))
    assert np.array_equal(pixels(browser, "source"), seen)

    # A mistake, too, leaves all pictures as they are, and what was typed.
    browser.type(FIELD, "x" * 5000)
    browser.key("Enter")
    status(browser, "5000 characters: at most 4096")
    assert np.array_equal(pixels(browser, "result"), last)
    assert browser.run("window.gone") == 0
    browser.run(f"document.querySelector({FIELD!r}).select()")
    browser.key("Delete")

    browser.key("z", control=True)
    status(browser, "turn 2,")
    assert turns(browser)[3] == f"{captions[2]} (undone)"
    browser.click("#strip .thumbnail-item", 1)  # back to the first turn
    status(browser, "turn 1,")
    browser.click("#branch")
    status(browser, "branch branch-2; turn 1,")
    edit(browser, "make the background green", 2)
    assert turns(browser) == ["source", captions[0], "2. make the background green"]

    browser.click("#keep button.label-wrap")
    browser.wait("document.querySelector('#pack') !== null")
    browser.click("#pack")
    browser.wait("document.querySelector('#zip a[download]') !== null")
    browser.click("#zip a[download]")
    path = browser.downloads / "anchoredit_branch-2_2_turns.zip"
    for _ in range(600):
        if path.exists() and zipfile.is_zipfile(path):
            break
        browser.run("new Promise(done => setTimeout(done, 100))")
    with zipfile.ZipFile(path) as file:
        names = set(file.namelist())
        file.extract("session.safetensors", tmp_path)
    assert names >= {"turn_00.png", "turn_02.png", "contact_sheet.png", "session.json"}
    loaded = EditSession.load(tmp_path / "session.safetensors")
    assert [turn.instruction for turn in loaded.history[1:]] == [
        EDITS[0], "make the background green",
    ]  # fmt: skip
    assert np.array_equal(loaded.image, pixels(browser, "result"))

    # The other branch is as it was left: its turn 3 is one click away.
    browser.click("#branches input")
    browser.type("#branches input", "")
    browser.wait("document.querySelectorAll('[role=option]').length === 2")
    browser.run(
        "document.querySelector('[role=option]').dispatchEvent("
        "new MouseEvent('mousedown', {bubbles: true}))"
    )
    status(browser, "branch main; turn 1,")
    browser.click("#strip .thumbnail-item", 3)
    status(browser, "branch main; turn 3,")
    assert np.array_equal(pixels(browser, "result"), last)
    browser.click("#retry")
    status(browser, "branch main; turn 3, seed 1")
    assert not np.array_equal(pixels(browser, "result"), last)
    assert mistakes(browser) == []


@pytest.mark.slow
def test_on_any_screen_the_result_is_in_view_and_all_inputs_have_labels(browser):
    browser.click("#sample")
    status(browser, "the source")
    browser.click("#examples button", 2)
    browser.wait(f"document.querySelector({FIELD!r}).value === 'cover the subject'")
    browser.click("#edit")
    status(browser, "turn 1,")
    for turn, text in enumerate(SEVEN, start=2):
        edit(browser, text, turn)
    for name, width, height in (("page_phone", 390, 844), ("page", 1280, 800),
                                (None, 1920, 1080)):  # fmt: skip
        browser.resize(width, height)
        browser.wait(IN_VIEW)
        assert browser.run("document.documentElement.scrollWidth") <= width
        keep_screenshot(browser, name)
    assert browser.run(UNNAMED) == []
    assert mistakes(browser) == []


def mistakes(browser):
    """Errors that the console was told of; not the warnings of the plot's library."""
    return [
        told for told in browser.errors() if told["params"].get("type") != "warning"
    ]


# The source, the instruction, the result, and the current turn of the strip with all of
# its caption, at least its upper edge on a small screen.
IN_VIEW = """(() => {
  const box = (query) => document.querySelector(query)?.getBoundingClientRect();
  const whole = ['#source img', '#instruction', '#result img'].map(box);
  const turn = box('#strip .thumbnail-item.selected');
  const captions = [...document.querySelectorAll('#strip .caption-label')];
  return scrollY === 0 && whole.every((one) => one && one.top >= 0 && one.height > 60
    && one.bottom <= innerHeight) && turn && turn.top < innerHeight && turn.left >= 0
    && turn.right <= innerWidth
    && captions.length > 1 && captions.every((one) => one.scrollWidth <= one.clientWidth
      && one.scrollHeight <= one.clientHeight);
})()"""
# Inputs and buttons that a screen reader could not tell.
UNNAMED = """[...document.querySelectorAll('input, textarea, select, button')]
  .filter((one) => one.offsetParent && !one.labels?.length && !one.innerText?.trim()
    && !one.ariaLabel && !one.title && !one.getAttribute('aria-labelledby'))
  .map((one) => one.outerHTML)"""


def watch_progress(browser):
    """Collect in `window.told` what the page says of its progress, and count in
    `window.gone` how often the result had no picture to show, or one was replaced by
    a message."""
    browser.run(
        "window.told = new Set(); window.gone = 0; new MutationObserver(() => {"
        "document.querySelectorAll('#status').forEach("
        "(shown) => window.told.add(shown.innerText));"
        "const image = document.querySelector('#result img');"
        "window.gone += !image || image.getBoundingClientRect().height < 60"
        " || document.querySelectorAll('.error').length > 0;"
        "}).observe(document.body,"
        " {childList: true, subtree: true, characterData: true}); true"
    )


def keep_screenshot(browser, name):
    """Written to the folder that ANCHOREDIT_SCREENSHOTS says, small enough to look at
    in a README."""
    folder = os.environ.get("ANCHOREDIT_SCREENSHOTS")
    if folder and name:
        browser.run("document.activeElement.blur()")
        image = Image.open(io.BytesIO(browser.screenshot())).convert("RGB")
        image.quantize(224).save(ROOT / folder / f"{name}.png", optimize=True)
