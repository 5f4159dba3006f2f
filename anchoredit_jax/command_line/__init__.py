"""What the launch scripts share: the parser, the log, and flags of several commands.

Nothing here, and nothing that is needed for it, imports JAX: `--help` and a wrong flag
are answered at once, and a script imports what works after it has parsed.
"""

from anchoredit_jax.command_line.parser import Parser, set_up_log

__all__ = ["Parser", "set_up_log"]
