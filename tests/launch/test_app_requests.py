"""The page's endpoints, as anybody may call them, and behind a proxy. Needs Gradio."""

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

from anchoredit_jax.session.page_folder import PREFIX
from tests.launch.test_app import SCRIPT, wait_for

pytestmark = pytest.mark.slow

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
FOREIGN = (
    [], [None], [None] * 3, ["x", "y"], [{"path": "/etc/passwd"}, 0], [1],
    [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, 0], [[1, 2]],
    ["\ud800 blue"], ["x" * 100_000], [{"index": "a"}],
)  # fmt: skip


def ask(url, data=None):
    """(status, text) of an answer."""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with DIRECT.open(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(address, log, temporary folder) of the page in a process of its own."""
    pytest.importorskip("gradio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("served")
    (folder / "tmp").mkdir()
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    environment |= {"TMPDIR": str(folder / "tmp"), "NO_PROXY": "127.0.0.1,localhost"}
    command = [sys.executable, str(SCRIPT), "--port", str(port)]
    with open(folder / "log", "w") as log:
        app = subprocess.Popen(
            [*command, "--root-path", "/editor"],
            cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/", app, folder / "log")
        yield url, folder / "log", folder / "tmp"
    finally:
        app.terminate()
        assert app.wait(60) == 143
        assert not list((folder / "tmp").glob(f"{PREFIX}*"))


def test_temporary_files_are_their_owners_alone(served):
    (folder,) = served[2].glob(f"{PREFIX}*")
    assert folder.stat().st_mode & 0o777 == 0o700


def test_missing_and_foreign_values_are_refused_in_a_line(served):
    address, log, _ = served
    told = json.loads(ask(f"{address}/gradio_api/info")[1])
    names = [*told["named_endpoints"]]
    assert {"/open_file", "/edit", "/goto", "/switch", "/repeat"} <= {*names}
    for name in names:
        for data in FOREIGN:
            call = f"{address}/gradio_api/call{name}"
            status, said = ask(call, {"data": data})
            assert status == 200
            status, said = ask(f"{call}/{json.loads(said)['event_id']}")
            assert status == 200 and "event: " in said
            if "event: error" in said:
                assert '"error": "' in said, (name, data, said)  # a text for a person
    status, said = ask(
        f"{address}/gradio_api/queue/join",
        {"fn_index": 99, "data": [], "session_hash": "q"},
    )
    assert status == 404 and "nothing of this name" in said
    assert "Traceback" not in log.read_text()


def test_behind_a_proxy_that_strips_a_path_all_addresses_have_it(served):
    address = served[0]

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.path.startswith("/editor")
            status, said = ask(address + self.path.removeprefix("/editor"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        outside = f"http://127.0.0.1:{proxy.server_port}/editor"
        status, said = ask(f"{outside}/")
        assert status == 200 and "AnchorEdit" in said
        config = json.loads(ask(f"{outside}/config")[1])
        assert config["root"].endswith("/editor")
        proxy.shutdown()
