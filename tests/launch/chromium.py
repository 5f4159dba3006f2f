"""A headless Chromium, driven by its DevTools protocol over a pipe."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

BINARY = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
# The pipe's ends are to be file descriptors 3 and 4 of the browser.
_START = 'exec "$@" 3<&"$FROM_US" 4>&"$TO_US"'


def need(*lacking: str) -> None:
    """Skip, or fail where ANCHOREDIT_REQUIRE_BROWSER is set, unless a page can be
    tested.

    Args:
      lacking: what is missing besides a browser.
    """
    lacking = (*lacking, *(["chromium on the PATH"] if BINARY is None else []))
    if not lacking:
        return
    reason = f"the page's test needs {' and '.join(lacking)}"
    if os.environ.get("ANCHOREDIT_REQUIRE_BROWSER"):
        pytest.fail(reason)
    pytest.skip(reason)


class Chromium:
    """One browser with one page. A context manager: the browser ends with it.

    Args:
      folder: for the profile and for downloads.
    """

    def __init__(self, folder: Path, size: tuple[int, int] = (1200, 1330)):
        self.downloads = folder / "downloads"
        from_us, self._out = os.pipe()
        self._in, to_us = os.pipe()
        flags = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-dev-shm-usage", "--remote-debugging-pipe", "--hide-scrollbars",
            f"--window-size={size[0]},{size[1]}",
            f"--user-data-dir={folder / 'profile'}",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            ["bash", "-c", _START, "bash", BINARY, *flags, "about:blank"],
            env={**os.environ, "FROM_US": str(from_us), "TO_US": str(to_us)},
            pass_fds=(from_us, to_us),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(from_us)
        os.close(to_us)
        self._buffer, self._number, self._session = b"", 0, None
        self._events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send(
            "Target.attachToTarget", targetId=target, flatten=True
        )["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        self.send(
            "Page.setDownloadBehavior",
            behavior="allow",
            downloadPath=str(self.downloads),
        )

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._in)
        os.close(self._out)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Carry out a command of the protocol; returns its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if "method" in answer:
                self._events.append(answer)
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression on the page."""
        answer = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, (script, answer)
        return answer["result"].get("value")

    def errors(self) -> list[dict[str, Any]]:
        """What the console was told of mistakes up to now: by pages, or of them."""
        self.run("0")  # what came before its answer has come
        bad = ("error", "warning", "assert")
        return [
            event
            for event in self._events
            if event["method"] == "Runtime.exceptionThrown"
            or event["params"].get("type") in bad
            or event["params"].get("entry", {}).get("level") in bad
        ]

    def resize(self, width: int, height: int = 900) -> None:
        """Let the page be seen at this width, as on a phone where it is one's."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip

    def wait(self, script: str, seconds: float = 240) -> Any:
        """The value of an expression, once it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.run(script)
            if value:
                return value
            time.sleep(0.2)
        text = self.run("document.body.innerText")
        raise AssertionError(f"still not true: {script}; the page: {text}")

    def click(self, selector: str, index: int = 0) -> None:
        self.run(f"document.querySelectorAll({selector!r})[{index}].click()")

    def type(self, selector: str, text: str) -> None:
        self.run(f"document.querySelector({selector!r}).focus()")
        self.send("Input.insertText", text=text)

    def key(self, key: str, control: bool = False) -> None:
        """Press and release a key, where the focus is."""
        codes = {"Enter": 13, "Delete": 46}
        pressed = {
            "key": key,
            "windowsVirtualKeyCode": codes.get(key, ord(key[0].upper())),
            "modifiers": 2 if control else 0,
        }
        down = {"text": "\r"} if key == "Enter" else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", **pressed, **down)
        self.send("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def upload(self, selector: str, path: Path) -> None:
        """Choose a file in a file input."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self) -> bytes:
        """The visible page as a PNG file."""
        return base64.b64decode(self.send("Page.captureScreenshot")["data"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._in, 1 << 20)
            assert chunk, "the browser has ended"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)
