"""Ctrl-C and SIGTERM as a request that the loop honours between two steps.

Of several processes any one may get the signal; all of them stop, at the same step.
"""

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator

import jax

from anchoredit_jax.errors import Exit
from anchoredit_jax.parallel.hosts import Agreement

EXIT_CODES = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}


@dataclasses.dataclass
class StopRequest:
    """Knows whether the loop is to stop.

    Attributes:
      received: the first signal that this process got, or None.
      honoured: the one that all processes stop for, or None.
      agree: lets several processes agree, see `hosts.Agreement`.
    """

    received: signal.Signals | None = None
    honoured: signal.Signals | None = None
    agree: Callable[[int], int] | None = None

    def due(self) -> bool:
        """Tell whether to stop before the next step; every process asks before each."""
        if self.agree is None:
            self.honoured = self.received
        elif self.honoured is None:
            number = self.agree(int(self.received or 0))
            self.honoured = signal.Signals(number) if number else None
        return self.honoured is not None

    def settled(self) -> bool:
        """Ask until every signal so far was heard by all; whether to stop."""
        return self.due() or self.due()


class Stopped(Exception):
    """A run ended early and saved itself; start it again and it goes on."""

    def __init__(self, received: signal.Signals, stage: str, step: int):
        where = f"at step {step} of {stage}, which is saved"
        if step == 0:
            where = f"before the first step of {stage}"
        super().__init__(
            f"stopped by {received.name} {where}; the same command goes on from there"
        )
        self.exit_code = EXIT_CODES[received]


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM until the block ends; a second Ctrl-C ends at once.

    Several stages in a row share one request: no signal is lost between them. Outside
    the main thread, where Python cannot set handlers, nothing is caught.
    """
    request = StopRequest(agree=Agreement() if jax.process_count() > 1 else None)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def receive(number: int, _frame) -> None:
        if request.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.received = request.received or signal.Signals(number)

    previous = {number: signal.signal(number, receive) for number in EXIT_CODES}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
