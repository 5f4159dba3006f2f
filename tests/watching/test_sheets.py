import re

from anchoredit_jax.watching.reading import read_workdirs
from anchoredit_jax.watching.sheets import choose, draw_sheets, in_the_page, is_whole
from tests.watching.made_up import write_sheet


def test_chosen_are_the_latest_and_others_evenly_before_it():
    keys = [("a", step) for step in range(0, 101)]
    assert choose(keys, None) == keys and choose(keys, 200) == keys
    assert [step for _, step in choose(keys, 5)] == [0, 25, 50, 75, 100]
    assert choose(keys, 1) == [("a", 100)]
    assert len(set(choose(keys, 34))) == 34
    assert choose(keys[:3], 2) == [("a", 0), ("a", 2)]


def drawn(paths, most=None):
    return draw_sheets(read_workdirs(paths), most, lambda n, stage, path: path.name)


def figures(markup):
    """[(place of the slider, file)] of each workdir."""
    columns = markup.split('<div class="sheet">')[1:]
    found = [re.findall(r'data-from="(\d+)".*?src="(\w+)', one) for one in columns]
    return [[(int(place), int(name)) for place, name in one] for one in found]


def test_of_two_each_shows_its_latest_up_to_the_sliders_place(tmp_path):
    for name, steps in {"a": (10, 30), "b": (20, 30, 40)}.items():
        for step in steps:
            write_sheet(tmp_path / name / "single_turn", step, (0, 0, 0), (1, 1))
    write_sheet(tmp_path / "b" / "causal_forcing", 5, (0, 0, 0), (1, 1))
    markup = drawn([tmp_path / "a", tmp_path / "b"])
    assert figures(markup) == [
        [(0, 10), (2, 30)],
        [(1, 20), (2, 30), (3, 40), (4, 5)],
    ]
    assert 'max="4" value="4"' in markup and "causal_forcing, step 5" in markup
    assert markup.count('" hidden><figcaption>') == 4  # all but the latest of each
    few = drawn([tmp_path / "a", tmp_path / "b"], 2)
    assert figures(few) == [[(0, 10), (1, 30)], [(1, 5)]]
    assert "2 of 5 sheets: evenly spaced" in few


def test_a_picture_that_is_not_whole_is_left_out_and_told(tmp_path):
    folder = tmp_path / "W" / "single_turn"
    whole = write_sheet(folder, 10, (0, 0, 0), (1, 1))
    for step, data in ((20, whole.read_bytes()[:-5]), (30, b""), (40, b"text")):
        path = write_sheet(folder, step, (0, 0, 0), (1, 1))
        path.write_bytes(data)
        assert not is_whole(path)
    assert is_whole(whole)
    markup = drawn([tmp_path / "W"])
    assert figures(markup) == [[(0, 10)]]
    assert "left out: W/single_turn/00000020.png, W/single_turn/00000030.png" in markup
    assert in_the_page(0, "", whole).startswith("data:image/png;base64,iVBOR")


def test_without_sheets_that_is_told(tmp_path):
    (tmp_path / "single_turn" / "samples").mkdir(parents=True)
    assert "no sample sheets yet" in drawn([tmp_path])
