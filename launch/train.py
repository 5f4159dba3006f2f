"""Train one stage, or go on with it.

    python launch/train.py --config configs/sprites.py:stage=single_turn --workdir W
    python launch/train.py --config configs/sprites.py:stage=causal_forcing --workdir W

A stage that builds on another finds it in the same workdir; --parent names any other
checkpoint. single_turn and causal_forcing also go on from one of their own, under
another schedule or with other data.

A run goes on with the same command. To steer it, change the settings and add --change;
to go back first, add --from-step N with a step that has a checkpoint (docs/recipe.md).

On several hosts the same command runs on each, in one shared workdir. On a TPU pod, GKE
or SLURM add `--hosts auto` (launch/pods/ has whole scripts); anywhere else

    ... --coordinator HOST:PORT --processes 2 --process 0      (and 1 on the other)

Exit codes (docs/exit_codes.md has all): 0 done, 2 wrong input, 4 diverged, 74 refused
by the disk, 75 stopped by SIGTERM and 130 by Ctrl-C (both saved, on all hosts at the
same step; the same command goes on). Of several hosts, 3: one failed or lost the rest.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.command_line.hosts import (  # noqa: E402
    add_host_arguments,
    host_flags,
)
from anchoredit_jax.command_line.programs import prepare_compiling  # noqa: E402
from anchoredit_jax.errors import exit_on_user_error  # noqa: E402


def main(argv: Sequence[str] | None = None) -> None:
    with exit_on_user_error():
        args = _parse(argv)
        if not host_flags(args).several:
            prepare_compiling()
        from anchoredit_jax.config import load_config
        from anchoredit_jax.parallel.hosts import Hosts, is_lead
        from anchoredit_jax.training.exits import exit_codes
        from anchoredit_jax.training.loop import run_stage
        from anchoredit_jax.training.preflight import check_run
        from anchoredit_jax.training.profiling import ProfileWindow

    with Hosts() as hosts, exit_codes():
        window = ProfileWindow.parse(args.profile) if args.profile else None
        run = load_config(args.config)
        hosts.start(host_flags(args))
        if args.check:
            told = check_run(run, args.workdir, args.parent)
            if is_lead():
                print(told)
            return
        result = run_stage(
            run,
            args.workdir,
            args.parent,
            quiet=args.quiet,
            profile=window,
            wandb=args.wandb,
            change=args.change,
            from_step=args.from_step,
        )
        outcome = "was finished already"
        if result.metrics:
            outcome = f"loss {result.metrics.get('loss', math.nan):.4f}"
        if is_lead():
            print(f"{run.stage}: step {result.step}, {outcome}; {result.checkpoint}")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        "--config", required=True, help="file.py or file.py:key=value,key=value"
    )
    parser.add_argument("--workdir", required=True, help="folder of all stages")
    parser.add_argument("--parent", help="checkpoint or bundle of the stage before")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument(
        "--profile",
        metavar="FIRST:LAST",
        help="write a profiler trace of the steps after FIRST up to LAST to "
        "WORKDIR/STAGE/profile",
    )
    parser.add_argument(
        "--wandb",
        metavar="PROJECT",
        help="send the metrics to this project of Weights & Biases too "
        "(WANDB_MODE=offline keeps them in WORKDIR/STAGE/wandb)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="try three steps, held-out measures and a checkpoint, say what they take, "
        "and leave nothing behind",
    )
    parser.add_argument(
        "--change",
        action="store_true",
        help="go on with other settings or data; every checkpoint tells of it",
    )
    parser.add_argument(
        "--from-step",
        type=int,
        metavar="N",
        help="go on at this checkpoint; later ones are moved to WORKDIR/STAGE/"
        "set_aside-K",
    )
    add_host_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
