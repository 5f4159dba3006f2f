"""Flags that say which processes make up a run."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping

from anchoredit_jax.errors import UserError

# What schedulers say of how many processes a command was started as.
_TASKS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
# What was asked for; a batch script has it too, which is one process.
_ASKED = "SLURM_NTASKS"


@dataclasses.dataclass(frozen=True)
class HostFlags:
    """Which processes there are; see `add_host_arguments`.

    Attributes:
      auto: ask the machine's environment.
      coordinator: address of process 0, HOST:PORT.
      processes, process: how many there are, and which this one is.
      connect_timeout: seconds until all of them have to be there.
      heartbeat: seconds without a sign of life after which a process counts as dead,
        and the others end.
    """

    auto: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    connect_timeout: int = 300
    heartbeat: int = 100

    def __post_init__(self) -> None:
        named = {
            "--coordinator": self.coordinator,
            "--processes": self.processes,
            "--process": self.process,
        }
        missing = [flag for flag, value in named.items() if value is None]
        if self.auto and len(missing) < 3:
            raise UserError(
                "--hosts auto finds the processes by itself: leave out "
                + ", ".join(flag for flag in named if flag not in missing)
            )
        if 0 < len(missing) < 3:
            raise UserError(
                "several processes need --coordinator, --processes and --process "
                f"together: {' and '.join(missing)} missing"
            )
        processes, process = self.processes or 1, self.process or 0
        if self.processes is not None and not 0 <= process < processes:
            raise UserError(
                f"--process must be in [0, {self.processes}), the --processes there "
                f"are, got {self.process}"
            )
        if self.coordinator is not None:
            host, _, port = self.coordinator.rpartition(":")
            if not host or not port.isdecimal():
                raise UserError(
                    "--coordinator must be HOST:PORT of process 0, got "
                    f"{self.coordinator!r}"
                )
        for name in ("connect_timeout", "heartbeat"):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise UserError(f"--{flag} must be 1 second or more")

    @property
    def several(self) -> bool:
        """Whether `jax.distributed` is started at all."""
        return self.auto or self.coordinator is not None


def add_host_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of launch scripts that train on several hosts."""
    group = parser.add_argument_group(
        "several processes", "the same command on every host; default: this one alone"
    )
    group.add_argument(
        "--hosts",
        choices=["auto"],
        help="auto: as TPU pods, GKE, SLURM or Open MPI tell",
    )
    group.add_argument("--coordinator", help="HOST:PORT of process 0")
    group.add_argument("--processes", type=int, help="how many there are")
    group.add_argument("--process", type=int, help="which one this is, from 0")
    group.add_argument(
        "--connect-timeout",
        type=int,
        default=HostFlags.connect_timeout,
        help="seconds until all of them have to be there (default: %(default)s)",
    )
    group.add_argument(
        "--heartbeat",
        type=int,
        default=HostFlags.heartbeat,
        help="seconds after which a silent process counts as dead and the others end "
        "(default: %(default)s)",
    )


def host_flags(args: argparse.Namespace) -> HostFlags:
    """The parsed flags of `add_host_arguments`.

    Raises:
      UserError: they contradict each other, or some are missing.
    """
    flags = HostFlags(
        args.hosts == "auto",
        args.coordinator,
        args.processes,
        args.process,
        args.connect_timeout,
        args.heartbeat,
    )
    if not flags.several:
        _check_alone(os.environ)
    return flags


def _check_alone(environment: Mapping[str, str]) -> None:
    """Refuse several tasks that know nothing of each other.

    Raises:
      UserError: the scheduler started this command more than once.
    """
    counts = {
        name: int(environment[name])
        for name in (*_TASKS, _ASKED)
        if environment.get(name, "").isdecimal()
    }
    for name in _TASKS:
        if counts.get(name, 1) > 1:
            raise UserError(
                f"the scheduler started {counts[name]} of this command ({name}), which "
                "would all train the same run: add --hosts auto to make them one run, "
                "or start one task"
            )
    if not any(name in counts for name in _TASKS) and counts.get(_ASKED, 1) > 1:
        print(
            f"note: {_ASKED} is {counts[_ASKED]}, this process trains alone: start "
            "all tasks by srun with --hosts auto to make them one run",
            file=sys.stderr,
        )
