"""A process that has everything imported, and forks one run of two stages a request.

For tests that end many runs by signals: a run costs a second instead of ten. It never
asks for devices itself, so that its forks start with one thread. A request is a line,
the workdir; the answers are the process's number and, when it has ended, its exit code.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STEPS = 3
ARGUMENTS = f"loop.steps={STEPS},loop.log_every=1,loop.checkpoint_every=1"


class Forker:
    """The process, from outside; `with` ends it."""

    def __init__(self, folder):
        self._log = folder / "said.txt"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.training.forked", self._log],
            cwd=ROOT,
            env={
                **os.environ,
                "JAX_PLATFORMS": "cpu",
                "XLA_FLAGS": "",
                "PYTHONPATH": str(ROOT),
                "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._process:  # closes both pipes, and waits
            pass

    def start(self, workdir):
        """Begin the curriculum, or go on with it; returns the process's number."""
        print(workdir, file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def wait(self):
        """(exit code, minus a signal that killed it; what was said)."""
        code = int(self._process.stdout.readline())
        return code, self._log.read_text()


def serve(log):
    import tensorboardX  # noqa: F401  (takes seconds; runs import it late)

    from anchoredit_jax.stages.table import STAGES
    from anchoredit_jax.training.curriculum import run_curriculum
    from anchoredit_jax.training.exits import exit_codes
    from tests.training.fake_stages import add_fake_stages, make_run

    STAGES.clear()
    add_fake_stages(STAGES)
    for line in sys.stdin:
        number = os.fork()
        if not number:
            with open(log, "w") as said:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            with exit_codes():
                runs = [make_run(stage, ARGUMENTS) for stage in STAGES]
                run_curriculum(runs, line.strip(), quiet=True)
            return
        print(number, flush=True)
        status = os.waitpid(number, 0)[1]
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
