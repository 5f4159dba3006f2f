"""Which curves stand together, under what title, and in which part of the page."""

import dataclasses
import re
from collections.abc import Collection, Iterable

# Text behind a number of each unit, and what the number is multiplied with.
UNITS = {
    "": ("", 1.0),
    "%": (" %", 100.0),
    "s": (" s", 1.0),
    "h": (" h", 1 / 3600),
    "dB": (" dB", 1.0),
    "GiB": (" GiB", 1.0),
    "TFLOP/s": (" TFLOP/s", 1.0),
}
OTHER = "Other measures"


@dataclasses.dataclass(frozen=True)
class Panel:
    """A chart.

    Attributes:
      section: the page's part that it stands in.
      names: of its measures; "x/*" are all that begin with "x/".
      told: a sentence on how to read it.
      unit: a key of `UNITS`.
      scale: panels with the same word have the same heights for the same values.
      from_zero: whether the axis begins at 0 and is never logarithmic.
    """

    section: str
    title: str
    names: tuple[str, ...]
    told: str = ""
    unit: str = ""
    scale: str = ""
    from_zero: bool = False

    def takes(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of its measures that are among `names`, in its order."""
        names, taken = sorted(names, key=natural), []
        for own in self.names:
            beginning = own.removesuffix("*")
            taken += [
                n
                for n in names
                if n == own or (beginning != own and n.startswith(beginning))
            ]
        return tuple(dict.fromkeys(taken))


def _edited(title: str, name: str, told: str, unit: str = "", **more) -> Panel:
    names = (f"edited/{name}", f"edited/{name}/*")
    return Panel("Edited sessions", title, names, told, unit, **more)


def _speed(title: str, name: str, told: str = "", unit: str = "", **more) -> Panel:
    return Panel("Speed", title, (name,), told, unit, from_zero=True, **more)


_LABELS = {
    "loss": "training",
    "held_out/ema/loss": "held out, averaged weights",
    "held_out/params/loss": "held out, latest weights",
    "grad_norm": "network",
    "learning_rate": "network",
    "critic_grad_norm": "critic",
    "critic_learning_rate": "critic",
    "tflops": "model's operations",
    "mfu": "MFU",
    "data_wait": "waiting",
    "seconds_left": "time left",
    "device_memory_gib": "memory",
}
_HELD_OUT = "the averaged weights, on sessions that are never trained on"
PANELS = (
    Panel("Loss", "Loss", ("loss", "held_out/ema/loss", "held_out/params/loss"),
          "held out beside training: both fall; a gap that widens is overfitting"),
    Panel("Loss", "Loss by noise interval", ("noise/*",),
          "training; all intervals fall, each at its own height", scale="noise"),
    Panel("Loss", "Loss by noise interval, held out", ("held_out/ema/noise/*",),
          _HELD_OUT, scale="noise"),
    Panel("Loss", "Loss by turn", ("turn/*",),
          "training; late turns that stay above early ones drift", scale="turn"),
    Panel("Loss", "Loss by turn, held out", ("held_out/ema/turn/*",),
          _HELD_OUT, scale="turn"),
    Panel("Loss", "Parts of the loss", ("plain", "edit", "hard", "anchor", "matching"),
          "what the loss is the weighted sum of"),
    _edited("Edits that succeed", "success", "of held-out sessions, by turn", "%",
            from_zero=True),
    _edited("Subject against the truth", "subject_psnr", "PSNR by turn, more is better",
            "dB"),
    _edited("Drift of identity", "identity_drift", "by turn; lower is better"),
    _edited("Colour against the source", "colour", "by turn"),
    _edited("Sharpness against the source", "sharpness", "by turn"),
    Panel("Optimisation", "Gradient norm", ("grad_norm", "critic_grad_norm"),
          "single peaks are normal, a rise that lasts is not"),
    Panel("Optimisation", "Update norm", ("update_norm",),
          "falls with the learning rate"),
    Panel("Optimisation", "Learning rate", ("learning_rate", "critic_learning_rate"),
          "the schedule, as it is in force"),
    Panel("Optimisation", "Skipped steps", ("skipped",), "0 in a healthy run",
          from_zero=True),
    Panel("Optimisation", "Timestep, mean", ("timestep",),
          "level: the draws are what they were"),
    Panel("Optimisation", "Replaced frames", ("replaced",),
          "share of history that the model made itself", "%", from_zero=True),
    _speed("Steps per second", "steps_per_second"),
    _speed("Seconds per step", "step_seconds", unit="s"),
    _speed("Sessions per second", "sessions_per_second"),
    _speed("Tokens per second", "tokens_per_second"),
    _speed("MFU", "mfu", "share of the chip's peak", "%"),
    _speed("Waiting for data", "data_wait", "near 0, or the readers are too slow",
           "%"),
    _speed("Operations per chip", "tflops", unit="TFLOP/s"),
    _speed("Memory per chip", "device_memory_gib", "level after a while", "GiB"),
    _speed("Time left of the stage", "seconds_left", unit="h"),
)  # fmt: skip


def panels_of(names: Collection[str]) -> list[tuple[Panel, tuple[str, ...]]]:
    """(panel, its measures) for all of `names`, each once; the unknown ones are grouped
    by their first part."""
    found, left = [], set(names)
    for panel in PANELS:
        taken = panel.takes(left)
        if taken:
            found.append((panel, taken))
            left -= set(taken)
    for first in sorted({name.partition("/")[0] for name in left}, key=natural):
        own = Panel(OTHER, first, (first, f"{first}/*"))
        found.append((own, own.takes(left)))
    return found


def label_of(panel: Panel, name: str) -> str:
    """What a curve is called beside its panel's title."""
    if f"{name}/*" in panel.names:
        return "all" if panel.section != OTHER else name
    for own in panel.names:
        if own.endswith("/*") and name.startswith(own[:-1]):
            rest = name[len(own) - 1 :]
            turn = "turn" in own or panel.section == "Edited sessions"
            return f"turn {rest}" if turn and rest.isdecimal() else rest
    return _LABELS.get(name, name.replace("_", " "))


def natural(name: str) -> tuple:
    """Sorts "turn/2" before "turn/10"."""
    return tuple(
        (part.isdecimal(), len(part.lstrip("0")) if part.isdecimal() else 0, part)
        for part in re.split(r"(\d+)", name)
    )
