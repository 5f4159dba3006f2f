"""Train one stage, or go on with it.

    python launch/train.py --config configs/sprites.py:stage=single_turn --workdir W
    python launch/train.py --config configs/sprites.py:stage=causal_forcing --workdir W

A stage that builds on another finds it in the same workdir; --parent names any other
checkpoint. single_turn and causal_forcing also go on from one of their own, under
another schedule or with other data. Exit codes: 0 done, 1 diverged, 2 wrong input, 75
stopped by SIGTERM and 130 by Ctrl-C (both saved; the same command goes on).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.config import load_config  # noqa: E402
from anchoredit_jax.stages.loop import exit_codes, run_stage  # noqa: E402


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument(
        "--config", required=True, help="file.py or file.py:key=value,key=value"
    )
    parser.add_argument("--workdir", required=True, help="folder of all stages")
    parser.add_argument("--parent", help="checkpoint or bundle of the stage before")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    with exit_codes():
        args = parser.parse_args(argv)
        run = load_config(args.config)
        result = run_stage(run, args.workdir, args.parent, quiet=args.quiet)
        loss = result.metrics.get("loss")
        outcome = "was finished already" if loss is None else f"loss {loss:.4f}"
        print(f"{run.stage}: step {result.step}, {outcome}; {result.checkpoint}")


if __name__ == "__main__":
    main()
