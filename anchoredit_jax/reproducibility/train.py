"""One process of a certified run, as `launch/reproduce.py run` and `legs` have it.

`legs` starts it by the module's name, `python -m`, with its arguments as JSON.
"""

import json
import sys
from pathlib import Path

from anchoredit_jax.command_line.hosts import HostFlags
from anchoredit_jax.config import load_config
from anchoredit_jax.orphans import end_with_input
from anchoredit_jax.parallel.hosts import Hosts, is_lead
from anchoredit_jax.reproducibility.certificate import NAME
from anchoredit_jax.reproducibility.rerun import run_certified
from anchoredit_jax.training.exits import exit_codes


def train(
    spec: str,
    workdir: str | Path,
    flags: HostFlags,
    parent: str | None = None,
    *,
    every: int = 1,
    quiet: bool = False,
    change: bool = False,
    from_step: int | None = None,
) -> None:
    """Train a stage and write its certificate; the lead process says where.

    The process ends with the exit codes of launch/train.py where that fails.

    Args:
      spec: the configuration, as `load_config` reads it.
      workdir: folder of all stages.
      flags: which processes make up the run.
      parent: checkpoint or bundle of the stage before, by default the workdir's own.
      every: steps between two rows.
      quiet: no progress bar.
      change, from_step: as of launch/train.py.
    """
    with Hosts() as hosts, exit_codes():
        run = load_config(spec)
        hosts.start(flags)
        result = run_certified(
            run, workdir, parent, every=every, quiet=quiet, change=change,
            from_step=from_step,
        )  # fmt: skip
        if is_lead():
            path = result.checkpoint.parents[1] / NAME
            print(f"{run.stage}: step {result.step}; {path}")


if __name__ == "__main__":
    end_with_input()
    given = json.loads(sys.argv[1])
    train(given["spec"], given["workdir"], HostFlags(**given["flags"]), quiet=True)
