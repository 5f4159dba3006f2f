"""The whole path of a person with own images, where every right answer is known.

    bash launch/rehearsal.sh --out R             # at most two hours on two cores
    bash launch/rehearsal.sh --out R --short     # minutes: does it all run?
    bash launch/rehearsal.sh --out R --former    # beside it: the former recipe

Writes sprite sessions as JPEG and PNG files of four shapes into tar shards and folders,
prepares them, computes their features, trains all four stages with the recipe of Wan
(configs/rehearsal.py), edits held-out pictures at their shapes, and evaluates with and
without the anchor. R/summary.md and R/summary.json tell how well, by shape.
Interrupted, the same command goes on.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.errors import exit_on_user_error  # noqa: E402
from anchoredit_jax.files import claim  # noqa: E402
from anchoredit_jax.in_use import in_use  # noqa: E402
from launch import curriculum, edit, evaluate, prepare_data  # noqa: E402

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "rehearsal.py"
SEED = 1  # of the sessions that are written
ASPECTS = ((1, 1), (3, 4), (4, 3), (9, 16))  # height, width
SHORTER = (45, 56, 64, 75)  # sides in pixels: about twice what is trained, some odd
HELD_OUT = ((64, 64), (56, 75), (75, 56), (48, 85))
POLICIES = "sink1_window3,window3"
TURNS = 12
SESSIONS = {"full": 3000, "short": 240}
EVALUATED = {"full": (200, 100), "short": (16, 16)}  # sessions, stories


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--out", required=True, type=Path, help="folder of everything")
    parser.add_argument("--short", action="store_true", help="minutes, and no quality")
    parser.add_argument(
        "--former", action="store_true", help="train with the former recipe"
    )
    parser.add_argument("--sessions", type=int, help="files of so many are written")
    with exit_on_user_error():
        args = parser.parse_args(argv)
        preset = "short" if args.short else "full"
        recipe = "former" if args.former else "ours"
        asked = {"preset": preset, "sessions": args.sessions or SESSIONS[preset]}
        with in_use(args.out):
            claim(args.out, "rehearsal.json", asked, "give another --out")
            sessions = args.sessions or SESSIONS[preset]
            spec = make_data(args.out, sessions, preset, recipe)
            checkpoint = args.out / recipe / "training" / "distribution_matching"
            _section(f"training four stages in {checkpoint.parent}")
            curriculum.main(["--config", spec, "--workdir", str(checkpoint.parent)])
            edit_pictures(checkpoint, args.out / recipe / "edits")
            evaluation = args.out / recipe / "evaluation"
            report = evaluate_shapes(checkpoint, evaluation, preset)
            print(write_summary(args.out, recipe, report))


def make_data(out: Path, sessions: int, preset: str, recipe: str) -> str:
    """Files, prepared sessions and features; the configuration that trains on them."""
    from anchoredit_jax.data.sprites import check_held_out
    from anchoredit_jax.data.sprites.files import FilesConfig, write_sprite_files
    from configs.rehearsal import FORMER_TURNS

    check_held_out(SEED)
    cuts = [None] if recipe == "ours" else sorted({5, *FORMER_TURNS.values()})
    folder = out / ("data" if recipe == "ours" else "former/data")
    for cut in cuts:
        place = "" if cut is None else f"/{cut}"
        _section(f"writing and preparing {sessions} sessions of images in {folder}")
        raw = write_sprite_files(
            f"{folder}/raw{place}",
            FilesConfig(sessions, file_shapes(), SEED, first_turns=cut),
        )
        prepared, features = f"{folder}/prepared{place}", f"{folder}/features{place}"
        prepare_data.main(["--source", str(raw), "--out", prepared])
        stage = "single_turn" if cut == 1 else "causal_forcing"
        spec = f"{CONFIG}:preset={preset},recipe={recipe},path={folder}/prepared"
        prepare_data.main(["--cache", features, "--config", f"{spec},stage={stage}"])
    return f"{spec},cache={folder}/features"


def file_shapes() -> list[tuple[int, int]]:
    """(height, width) of the images that are written."""
    return [
        tuple(round(side * length / min(aspect)) for length in aspect)
        for aspect in ASPECTS
        for side in SHORTER
    ]


def edit_pictures(checkpoint: Path, out: Path) -> None:
    """One held-out picture of every shape through launch/edit.py."""
    from PIL import Image

    from anchoredit_jax.data.sprites import held_out_sessions, render

    out.mkdir(parents=True, exist_ok=True)
    sessions = held_out_sessions(len(HELD_OUT), TURNS)
    for session, shape in zip(sessions, HELD_OUT, strict=True):
        name = f"{shape[0]}x{shape[1]}"
        if (out / name).exists():
            continue
        _section(f"editing a picture {shape[0]} high, {shape[1]} wide in {out / name}")
        picture = out / f"{name}.png"
        Image.fromarray(render(session.scenes[:1], shape)[0]).save(picture)
        texts = [f"--instruction={edit.text}" for edit in session.edits]
        edit.main(
            ["--checkpoint", str(checkpoint), "--image", str(picture), *texts]
            + ["--out", str(out / name)]
        )


def evaluate_shapes(checkpoint: Path, out: Path, preset: str) -> dict:
    """launch/evaluate.py over all shapes; what its report.json holds."""
    _section(f"evaluating on held-out pictures in {out}")
    sessions, stories = EVALUATED[preset]
    shapes = ",".join(f"{height}x{width}" for height, width in HELD_OUT)
    evaluate.main(
        ["--checkpoint", f"rehearsal={checkpoint}", "--shapes", shapes]
        + ["--policies", POLICIES, "--parts", "table,story", "--turns", str(TURNS)]
        + ["--sessions", str(sessions), "--story-sessions", str(stories)]
        + ["--out", str(out)]
    )
    return json.loads((out / "report.json").read_text())


def write_summary(out: Path, recipe: str, report: dict) -> str:
    """summary.json and summary.md of all recipes that were rehearsed in `out`."""
    from launch.rehearsal_summary import shapes_markdown, summarise_shapes

    path = out / "summary.json"
    summaries = json.loads(path.read_text()) if path.exists() else {}
    summaries[recipe] = summarise_shapes(report, "rehearsal")
    path.write_text(json.dumps(summaries, indent=1) + "\n")
    table = shapes_markdown(dict(sorted(summaries.items(), reverse=True)))
    (out / "summary.md").write_text(table)
    return f"\n{table}\nwritten to {out / 'summary.md'} and summary.json"


def _section(text: str) -> None:
    print(f"\n== {time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    main()
