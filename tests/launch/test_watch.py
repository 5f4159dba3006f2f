"""The page on a run: its script, and the page in a browser.

ANCHOREDIT_REQUIRE_BROWSER=1 makes the browser's tests fail, not skip, where there is
none.
"""

import runpy
import threading
from pathlib import Path

import pytest

from anchoredit_jax.watching.server import open_server
from tests.launch import chromium
from tests.watching.made_up import make_workdir

SCRIPT = Path(__file__).parents[2] / "launch" / "watch.py"


def watch(*flags):
    runpy.run_path(str(SCRIPT))["main"]([str(flag) for flag in flags])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two workdirs, of three stages and of two."""
    base = tmp_path_factory.mktemp("runs")
    return [
        make_workdir(base / "one", (400, 600, 200), every=4, sheets=3),
        make_workdir(base / "two", (400, 300), seed=1, every=4, sheets=3),
    ]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium.need()
    with chromium.Chromium(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def test_the_page_is_written_beside_the_stages_or_where_it_is_asked_for(
    runs, tmp_path, capsys
):
    watch("--workdir", runs[0])
    assert (runs[0] / "watch.html").stat().st_size > 10_000
    out = tmp_path / "new" / "page.html"
    watch("--workdir", runs[0], "--workdir", runs[1], "--out", out, "--sheets", 1)
    assert out.read_text().count("data:image/png;base64,") == 2
    assert capsys.readouterr().out.count("written: ") == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--workdir", "nowhere"), "'nowhere' does not exist"),
        (("--workdir", "W", "--out", "."), "is a folder: name a file"),
        (("--workdir", "W", "--serve", "70000"), "no port, 0 to 65535"),
        (("--workdir", "W", "--serve", "0", "--out", "x"), "give one of them"),
        (("--workdir", "W", "--sheets", "0"), "no number of sheets"),
        ((), "--workdir"),
    ],
)
def test_wrong_input_is_one_line(flags, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        watch(*flags)
    told = capsys.readouterr().err
    assert caught.value.code == 2 and told.count("\n") == 1 and said in told
    assert not list(tmp_path.iterdir())


def see(browser, url, width=1280):
    browser.resize(width)
    browser.send("Page.navigate", url=url)
    browser.wait(f"location.href === {url!r} && document.readyState === 'complete'", 60)


def shown(browser):
    """Captions of the sheets that are seen, one a workdir."""
    return browser.run(
        "[...document.querySelectorAll('.sheet')].map(one => [...one.children]"
        ".find(child => !child.hidden).innerText.trim())"
    )


def slide(browser, place):
    browser.run(
        f"(s => {{ s.value = {place}; s.dispatchEvent(new Event('input')); }})"
        "(document.getElementById('sheet'))"
    )


def test_in_a_browser_two_runs_stand_side_by_side(runs, browser, tmp_path):
    out = tmp_path / "page.html"
    watch("--workdir", runs[0], "--workdir", runs[1], "--out", out)
    see(browser, out.as_uri())
    dashes = (
        "[...document.querySelectorAll('.chart g')].map(g => g.classList[0] + "
        "getComputedStyle(g.querySelector('.clear')).strokeDasharray)"
    )
    assert set(browser.run(dashes)) == {"w0none", "w155px, 38px"}
    left, right = browser.run(
        "[...document.querySelectorAll('.sheet')].map(one => "
        "one.getBoundingClientRect().left)"
    )
    assert right > left + 300

    # The slider changes both pictures, each to its latest up to there.
    source = (
        "[...document.querySelectorAll('.sheet figure:not([hidden]) img')]"
        ".map(one => one.src)"
    )
    latest = browser.run(source)
    assert shown(browser) == [
        "one: consistency, step 200",
        "two: causal_forcing, step 300",
    ]
    slide(browser, 0)
    assert shown(browser) == [f"{n}: single_turn, step 133" for n in ("one", "two")]
    assert not set(browser.run(source)) & set(latest)
    browser.click("#later")
    assert shown(browser)[0] == "one: single_turn, step 266"
    assert (
        browser.run("document.getElementById('sheet-at').innerText")
        == "single_turn, step 266"
    )
    browser.wait(
        "document.querySelector('.sheet figure:not([hidden]) img').naturalWidth > 9", 60
    )

    # One stage alone, and a value under the pointer.
    browser.run(
        "(v => { v.value = 'causal_forcing'; v.dispatchEvent(new Event('change')); })"
        "(document.getElementById('view'))"
    )
    views = (
        "[...document.querySelectorAll('.chart > svg:not([hidden])')]"
        ".map(svg => svg.dataset.view)"
    )
    assert set(browser.run(views)) == {"causal_forcing"}
    key = "document.querySelector('.chart .key b').innerText"
    before = browser.run(key)
    at = browser.run(
        "(svg => { const box = svg.getBoundingClientRect(); svg.dispatchEvent(new "
        "PointerEvent('pointermove', {clientX: box.left + box.width * .115})); "
        "return svg.parentElement.querySelector('.at').innerText; })"
        "(document.querySelector('.chart > svg:not([hidden])'))"
    )
    assert at == "causal_forcing, step 0"
    assert float(browser.run(key)) > float(before)
    assert browser.errors() == []


@pytest.mark.parametrize("count", [1, 2])
def test_on_a_phone_nothing_is_cut_off_and_fingers_find_their_targets(
    runs, browser, tmp_path, count
):
    out = tmp_path / "page.html"
    flags = [flag for run in runs[:count] for flag in ("--workdir", run)]
    watch(*flags, "--out", out)
    see(browser, out.as_uri(), 375)
    assert (
        browser.run("[innerWidth, document.documentElement.scrollWidth]") == [375] * 2
    )
    small = (
        "[...document.querySelectorAll('button, select, nav a, summary, .check, "
        "input[type=range]')].filter(one => one.getBoundingClientRect().height < 44)"
        ".map(one => one.outerHTML)"
    )
    assert browser.run(small) == []
    unnamed = (
        "[...document.querySelectorAll('input, select')].filter(one => "
        "!one.labels.length).length"
    )
    assert browser.run(unnamed) == 0
    assert browser.errors() == []


def test_the_served_page_has_its_pictures(runs, browser):
    with open_server(runs, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            see(browser, f"http://127.0.0.1:{server.server_port}/")
            slide(browser, 1)
            browser.wait(
                "[...document.querySelectorAll('.sheet figure:not([hidden]) img')]"
                ".every(one => one.complete && one.naturalWidth > 9)",
                60,
            )
            assert browser.errors() == []
        finally:
            server.shutdown()
            thread.join()
