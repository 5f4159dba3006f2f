"""What the launch scripts share: flags whose mistakes are one line, like all others."""

import argparse
from typing import NoReturn

from anchoredit_jax.errors import UserError


class Parser(argparse.ArgumentParser):
    """Shows `description` as it is written; a wrong flag raises `UserError`."""

    def __init__(self, description: str | None = None, **options):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(description=description, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")
