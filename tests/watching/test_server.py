import contextlib
import threading
import urllib.error
import urllib.request

import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.watching.server import open_server
from tests.watching.made_up import write_rows, write_sheet

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextlib.contextmanager
def serving(*workdirs):
    """Its address."""
    with open_server(workdirs, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def get(url):
    """(status, body) of an address."""
    try:
        with DIRECT.open(url, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_every_reload_builds_the_page_anew(tmp_path):
    stage = tmp_path / "W" / "single_turn"
    write_rows(stage, [{"step": 1, "loss": 0.5}])
    with serving(tmp_path / "W") as url:
        assert b"step 1" in get(url)[1]
        write_rows(stage, [{"step": 77, "loss": 0.5}])
        assert b"step 77" in get(url)[1]
        (tmp_path / "W").rename(tmp_path / "V")
        status, body = get(url)
        assert status == 503 and b"does not exist" in body


def test_pictures_are_served_and_nothing_else(tmp_path):
    stage = tmp_path / "W" / "a stage"
    sheet = write_sheet(stage, 20, (1, 2, 3), (1, 1))
    (stage / "config.json").write_text("{}")
    with serving(tmp_path / "W") as url:
        page = get(url)[1]
        assert b'src="/0/a%20stage/00000020.png"' in page and b"base64" not in page
        assert get(f"{url}/0/a%20stage/00000020.png") == (200, sheet.read_bytes())
        assert get(f"{url}/favicon.ico")[0] == 204
        for path in (
            "/x",
            "/1/a%20stage/00000020.png",
            "/0/a%20stage/config.json",
            "/0/a%20stage/..%2fconfig.json",
            "/../../etc/passwd",
            "/0/*/00000020.png",
        ):
            assert get(url + path)[0] == 404, path  # fmt: skip


def test_where_nothing_can_listen_that_is_told(tmp_path):
    write_rows(tmp_path / "single_turn", [])
    with serving(tmp_path) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(UserError, match=rf"no page at 127\.0\.0\.1, port {port}: "):
            open_server([tmp_path], "127.0.0.1", port)
    with pytest.raises(UserError, match="does not exist"):
        open_server([tmp_path / "nothing"], "127.0.0.1", 0)
