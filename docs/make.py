"""Write what the documentation takes from the code.

    python docs/make.py             # configuration.md and commands.md
    python docs/make.py --picture   # session.webp besides, about a minute

The site is built by `mkdocs build --strict` (extra [docs]).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.errors import exit_on_user_error  # noqa: E402
from docs.making import commands, configuration, picture  # noqa: E402

PAGES = {"configuration.md": configuration.page, "commands.md": commands.page}


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--picture", action="store_true", help="draw session.webp too")
    with exit_on_user_error():
        args = parser.parse_args(argv)
        for name, page in PAGES.items():
            (ROOT / "docs" / name).write_text(page())
        if args.picture:
            picture.draw(ROOT / "docs" / "session.webp")


if __name__ == "__main__":
    main()
