"""The page over HTTP, built anew at every reload."""

import contextlib
import datetime
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from anchoredit_jax.errors import UserError
from anchoredit_jax.watching.page import build_page
from anchoredit_jax.watching.reading import read_workdirs
from anchoredit_jax.watching.stage_files import SAMPLES


def open_server(
    paths: Sequence[Path], host: str, port: int, sheets: int | None = None
) -> ThreadingHTTPServer:
    """A server that listens at `host` and `port` (0: any free one); its
    `serve_forever` answers, `server_close` ends it.

    Args:
      paths: the workdirs.
      sheets: how many contact sheets at most; None is all.

    Raises:
      UserError: nothing can listen there, or a workdir cannot be read.
    """
    read_workdirs(paths)  # refuses here, not at the first reload

    class Handler(_Handler):
        workdirs, most = tuple(paths), sheets

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise UserError(
            f"no page at {host}, port {port}: {error}; give another --serve PORT or "
            "--host"
        ) from error


class _Handler(BaseHTTPRequestHandler):
    workdirs: tuple[Path, ...]
    most: int | None

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/":
            self._page()
        elif path == "/favicon.ico":
            self._answer(204, b"", "image/x-icon")
        elif (picture := self._picture(path)) is not None:
            self._answer(200, picture, "image/png")
        else:
            self._answer(404, b"there is no such page; / is the only one", "text/plain")

    def log_message(self, format: str, *args: object) -> None:
        """No line a request."""

    def _page(self) -> None:
        try:
            records = read_workdirs(self.workdirs)
        except UserError as error:  # the workdir has gone
            self._answer(503, str(error).encode(), "text/plain; charset=utf-8")
            return
        now = datetime.datetime.now().astimezone()
        page = build_page(records, now, self.most, _address)
        self._answer(200, page.encode(), "text/html; charset=utf-8")

    def _picture(self, path: str) -> bytes | None:
        """The bytes of "/<workdir>/<stage>/<name>", if that is a sheet of ours."""
        parts = path.split("/")
        if len(parts) != 4 or parts[1] not in map(str, range(len(self.workdirs))):
            return None
        _, workdir, stage, name = parts
        # Only what lies there is read: nothing is joined that a request may choose.
        folder = self.workdirs[int(workdir)]
        for file in folder.glob(f"*/{SAMPLES}/*.png"):
            if (file.parent.parent.name, file.name) == (stage, name):
                return file.read_bytes()
        return None

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        with contextlib.suppress(ConnectionError):  # reloaded before it was here
            self._send(status, body, kind)

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        self.wfile.write(body)


def _address(workdir: int, stage: str, path: Path) -> str:
    return quote(f"/{workdir}/{stage}/{path.name}")
