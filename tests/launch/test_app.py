"""The page's script: what it refuses, and the page in a browser.

The browser test is slow; ANCHOREDIT_SCREENSHOT=docs/page.png keeps its picture, and
ANCHOREDIT_REQUIRE_BROWSER=1 makes it fail, not skip, where it cannot run.
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
EDITS = ("make the background blue", "add a red circle at the top left",
         "cover the subject")  # fmt: skip


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
    browser.type("#instruction textarea", text)
    browser.click("#edit")
    status(browser, f"turn {turn};")
    browser.wait("document.querySelector('#instruction textarea').value === ''")


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
    browser.wait("document.body.innerText.includes('no image is open')")
    (tmp_path / "text.png").write_text("not an image")
    browser.upload("#upload input[type=file]", tmp_path / "text.png")
    browser.wait("document.body.innerText.includes('not an image that can be read')")
    browser.click("#upload button[aria-label='Clear'], #upload button[title='Clear']")
    browser.wait("document.querySelector('#upload input[type=file]') !== null")

    browser.upload("#upload input[type=file]", SAMPLE)
    status(browser, "the source;")
    watch_progress(browser)
    for turn, text in enumerate(EDITS, start=1):
        edit(browser, text, turn)
    told = browser.run("[...window.steps]")
    assert any(text.startswith("4/4 steps") for text in told)
    captions = [f"{turn}. {text}" for turn, text in enumerate(EDITS, start=1)]
    assert turns(browser) == ["source", *captions]
    last = pixels(browser, "result")
    seen = map_back(*fit_image(decode_image(SAMPLE), (32, 32)))
    assert np.array_equal(pixels(browser, "source"), seen)
    keep_screenshot(browser)

    browser.click("#undo")
    status(browser, "turn 2;")
    assert turns(browser)[3] == f"{captions[2]} (undone)"
    browser.click("#strip .thumbnail-item", 1)  # back to the first turn
    status(browser, "turn 1;")
    browser.click("#branch")
    status(browser, "branch branch-2; turn 1;")
    edit(browser, "make the background green", 2)
    assert turns(browser) == ["source", captions[0], "2. make the background green"]

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
    status(browser, "branch main; turn 1;")
    browser.click("#strip .thumbnail-item", 3)
    status(browser, "branch main; turn 3;")
    assert np.array_equal(pixels(browser, "result"), last)


def watch_progress(browser):
    """Collect what the page says of denoising steps in `window.steps`."""
    browser.run(
        "window.steps = new Set(); new MutationObserver(() => document"
        ".querySelectorAll('.progress-level, .progress-text').forEach(shown =>"
        " window.steps.add(shown.innerText))).observe(document.body,"
        " {childList: true, subtree: true, characterData: true}); true"
    )


def keep_screenshot(browser):
    """Written where ANCHOREDIT_SCREENSHOT says, small enough for a README."""
    path = os.environ.get("ANCHOREDIT_SCREENSHOT")
    if path:
        browser.run("document.activeElement.blur()")
        browser.wait("document.querySelector('#drift img')?.complete")
        image = Image.open(io.BytesIO(browser.screenshot())).convert("RGB")
        image.quantize(224).save(ROOT / path, optimize=True)
