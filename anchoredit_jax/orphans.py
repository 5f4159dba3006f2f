"""Processes that end when the one that started them does, however that ended.

A pipe of which the parent has the only other end says so, on every system.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable


def end_with_parent() -> None:
    """For a process of `multiprocessing`: end when its parent does. Ctrl-C, which a
    terminal sends to all of them, is the parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        _when_done(parent.join)


def end_with_input() -> None:
    """For a program whose standard input is a pipe that its starter holds: end when
    that is closed."""
    _when_done(sys.stdin.read)


def _when_done(wait: Callable[[], object]) -> None:
    def watch() -> None:
        wait()
        os._exit(1)  # nobody is there who could read more

    threading.Thread(target=watch, daemon=True).start()
