"""Ctrl-C and SIGTERM as a request that the loop honours between two steps."""

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Iterator

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 75}  # 75: "try again later"


@dataclasses.dataclass
class StopRequest:
    """`received` is the first signal that came, or None."""

    received: signal.Signals | None = None


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

    Outside the main thread, where Python cannot set handlers, nothing is caught.
    """
    request = StopRequest()
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
