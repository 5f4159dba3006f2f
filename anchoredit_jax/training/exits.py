"""How scripts that train end: a line, and an exit code for each kind of end."""

import contextlib
import sys
from collections.abc import Iterator

import jax

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.errors import Exit, exit_on_user_error
from anchoredit_jax.parallel import hosts
from anchoredit_jax.training.divergence import DivergedError
from anchoredit_jax.training.stopping import Stopped


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """The exits of scripts that train, see `errors.Exit`.

    SIGTERM is `stop_requests`'s; before a run begins it ends the process as ever, also
    while JAX waits for other hosts, where no handler of Python's is called.
    """
    try:
        with exit_on_user_error(sigterm=False):
            try:
                yield
            except manager.SaveError as error:
                if jax.process_count() > 1:
                    raise RuntimeError("this host's disk or network fails") from error
                print(f"error: {error}", file=sys.stderr)
                hosts.end_now(Exit.DISK)  # threads of the save would be waited for
            except OSError as error:
                if jax.process_count() == 1:
                    raise
                # Of several hosts, `Hosts` has to end the others.
                raise RuntimeError("this host's disk or network fails") from error
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        raise SystemExit(stopped.exit_code) from stopped
    except DivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(Exit.DIVERGED) from error
