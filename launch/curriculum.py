"""Train all stages in order, each from the one before.

    python launch/curriculum.py --config configs/sprites.py --workdir W
    python launch/curriculum.py --config configs/sprites.py:preset=quick --workdir W

Interrupted anywhere, the same command goes on at the last committed step of the right
stage; finished stages are skipped. Several hosts and exit codes as of launch/train.py.
"""

import argparse
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
        from anchoredit_jax.checkpoint import load_weights, save_bundle
        from anchoredit_jax.checkpoint.assets import place_of_bundle
        from anchoredit_jax.config import load_config, with_argument
        from anchoredit_jax.parallel.hosts import Hosts, barrier, is_lead
        from anchoredit_jax.stages.table import STAGES
        from anchoredit_jax.training.curriculum import run_curriculum
        from anchoredit_jax.training.exits import exit_codes

    with Hosts() as hosts, exit_codes():
        if args.export:
            place_of_bundle(args.export)
        runs = [
            load_config(with_argument(args.config, "stage", stage)) for stage in STAGES
        ]
        hosts.start(host_flags(args))
        results = run_curriculum(
            runs,
            args.workdir,
            args.until,
            args.parent,
            quiet=args.quiet,
            wandb=args.wandb,
            change=args.change,
        )
        if is_lead():
            final = load_weights(Path(args.workdir) / list(results)[-1])
            print("lineage: " + final.lineage.describe())
            if args.export:
                print(f"weights: {save_bundle(Path(args.export), *final)}")
        barrier("the weights are written")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        "--config", required=True, help="file.py or file.py:key=value,key=value"
    )
    parser.add_argument("--workdir", required=True, help="folder of all stages")
    parser.add_argument("--until", help="the last stage to train (default: of all)")
    parser.add_argument(
        "--export", help="write the result to this folder or *.safetensors file"
    )
    parser.add_argument(
        "--parent",
        help="checkpoint or imported weights that the first stage starts from "
        "(default: weights imported into the workdir, if there are some)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument(
        "--wandb",
        metavar="PROJECT",
        help="send the metrics to this project of Weights & Biases too "
        "(WANDB_MODE=offline keeps them in WORKDIR/STAGE/wandb)",
    )
    parser.add_argument(
        "--change",
        action="store_true",
        help="let unfinished stages go on with other settings, see launch/train.py",
    )
    add_host_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
