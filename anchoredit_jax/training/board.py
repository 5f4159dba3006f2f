"""TensorBoard's event files, written at once.

TensorBoardX's own writer hands events to a thread. On a full disk that thread ends, and
the next events wait for ever in its queue; here what the disk refuses is raised.
"""

import time
from pathlib import Path

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog


class Board:
    """One event file in a folder that may hold others, of earlier processes."""

    def __init__(self, folder: Path, start: int):
        """
        Args:
          start: the step that is gone on from; events behind it count no more.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))
        again = SessionLog(status=SessionLog.START)
        self._write(start + 1 if start else 0, session_log=again)

    def scalar(self, name: str, value: float, step: int) -> None:
        self._write(step, summary=summary.scalar(name, value))

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """uint8 [H, W, 3]."""
        told = summary.image(name, picture, dataformats="HWC")
        self._write(step, summary=told)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _write(self, step: int, **content: object) -> None:
        event = Event(wall_time=time.time(), step=step, **content)
        self._writer.write_event(event)
