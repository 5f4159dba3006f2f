"""Print speed ratios, each measured in one run.

    python launch/benchmark.py attention               # prefix against masked; turns
    python launch/benchmark.py step --peer diffusers   # a training step against torch
    python launch/benchmark.py convert                 # memory and time at 1.3B
    python launch/benchmark.py data                    # sessions a second and core
    python launch/benchmark.py compile                 # 40 layers against 4; options
    python launch/benchmark.py certificate             # what a certificate costs
    python launch/benchmark.py session                 # turn 200 against 5; branches
    python launch/benchmark.py all --out benchmarks.md # all of these, as a table

What is compared takes turns on the same cores, one unless --cores says otherwise.
Ratios are of neighbouring times, and of the CPU seconds in them, which other programs
on the machine hardly change.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from anchoredit_jax import files  # noqa: E402
from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.errors import UserError, exit_on_user_error  # noqa: E402

# What `all` runs: a process each, as cores are given to a process before it computes.
ALL = (
    ("attention",), ("step", "--peer", "diffusers"),
    ("step", "--peer", "diffusers", "--cores", "2"), ("convert",), ("data",),
    ("compile",), ("certificate",), ("session",),
)  # fmt: skip


def attention(args: argparse.Namespace) -> None:
    """Print two tables of ratios."""
    from benchmarks.attention import benchmark_attention, benchmark_turns

    print("attention of 6 causal frames, forward and backward, float32")
    for count in args.tokens:
        times = benchmark_attention(count, repetitions=args.repetitions)
        prefix = times.pop("prefix")
        line = f"{count:5d} tokens a frame: prefix {1e3 * prefix.median:.1f} ms"
        for name, other in times.items():
            ratio = prefix.ratio_to(other)
            line += f", {name} {1e3 * other.median:.1f} ms (ratio {ratio:.3f})"
        print(line)
    times = benchmark_turns(repetitions=3 * args.repetitions)
    early, late = times["early"], times["late"]
    print(
        f"a turn behind sink 1 + window 3: turn 5 {1e3 * early.median:.1f} ms, turn "
        f"100 {1e3 * late.median:.1f} ms, ratio {late.ratio_to(early):.3f}"
    )


def step(args: argparse.Namespace) -> None:
    """Our time, and how many times faster than the peer that is."""
    from benchmarks.step import benchmark_products, benchmark_step

    times, difference = benchmark_step(args.peer, args.repetitions)
    ours = times["ours"]
    print(f"one training step, float32: ours {1e3 * ours.median:.1f} ms")
    if args.peer is not None:
        theirs = times[args.peer]
        print(
            f"{args.peer} {1e3 * theirs.median:.1f} ms: ours is "
            f"{theirs.ratio_to(ours):.2f} times as fast, "
            f"{theirs.cpu_ratio_to(ours):.2f} times in CPU seconds (gradients differ "
            f"by {difference:.1e} of their norm)"
        )
    operations, rates = benchmark_products(args.peer)
    for name, rate in rates.items():
        print(
            f"bound: {operations / 1e9:.1f} GFLOP of matrix products, {name} at "
            f"{rate / 1e9:.0f} GFLOP/s: {1e3 * operations / rate:.0f} ms"
        )


def convert(args: argparse.Namespace) -> None:
    """Peak memory beside its bound, time beside that of a plain copy."""
    from benchmarks.convert import benchmark_convert

    with tempfile.TemporaryDirectory() as folder:
        for name, cost in benchmark_convert(Path(folder)).items():
            ratio = cost.seconds / cost.copy_seconds
            print(
                f"{name} of 1.3B bfloat16: peak {cost.peak / 2**30:.2f} GiB (bound "
                f"{cost.bound / 2**30:.2f}), {cost.seconds:.1f} s, a plain copy "
                f"{cost.copy_seconds:.1f} s, ratio {ratio:.2f}"
            )


def data(args: argparse.Namespace) -> None:
    """Sessions a second of one thread, and how many times the obvious way's."""
    from benchmarks.data import SESSIONS, benchmark_data, benchmark_plan

    seconds, peak = benchmark_plan()
    print(
        f"plan of 100 million sessions: {seconds:.2f} s to the first batch, "
        f"{peak / 2**20:.1f} MiB beyond the column of groups"
    )
    with tempfile.TemporaryDirectory() as folder:
        times = benchmark_data(Path(folder), args.repetitions)
    print("sessions of 3 JPEGs of 1536 x 2048, at about 256 x 256 pixels, one thread")
    for name, timing in times.items():
        rate, ratio = SESSIONS / timing.median, times["obvious"].ratio_to(timing)
        print(
            f"{name}: {rate:.1f} sessions a second, {ratio:.2f} times the obvious way"
        )


def compiling(args: argparse.Namespace) -> None:
    """How much longer ten times the layers take, and what commands ask of XLA."""
    from benchmarks.compiling import benchmark_compile, benchmark_quick_compile

    times = benchmark_compile()
    few, many = min(times), max(times)
    print(
        f"compiling a causal training step of tiny width: {few} layers "
        f"{times[few].median:.2f} s, {many} layers {times[many].median:.2f} s, ratio "
        f"{times[many].ratio_to(times[few]):.2f}"
    )
    times, steps = benchmark_quick_compile()
    print(
        "the toy's training step as commands compile it, in CPU seconds of XLA's own "
        f"way: compiled {times['quickly'].cpu_ratio_to(times['default']):.2f}, run "
        f"{steps['quickly'].cpu_ratio_to(steps['default']):.2f}"
    )


def certificate(args: argparse.Namespace) -> None:
    """Print its share of a training step of the toy, and what a checkpoint adds."""
    from benchmarks.certificate import benchmark_certificate

    with tempfile.TemporaryDirectory() as folder:
        cost = benchmark_certificate(Path(folder))
    print(
        f"a row of a certificate: {1e3 * cost.hooks:.2f} ms in the loop, "
        f"{1e3 * cost.hashing:.2f} ms of another thread, {1e3 * cost.keys:.2f} ms on "
        f"the device; a step of the toy {1e3 * cost.step:.0f} ms: {cost.share:.2%}"
    )
    print(f"digests of the arrays at a checkpoint: {1e3 * cost.arrays:.0f} ms")


def session(args: argparse.Namespace) -> None:
    """Later turns against the earliest, and what branches keep on the device."""
    from benchmarks.session import benchmark_session

    cost = benchmark_session(repetitions=3 * args.repetitions)
    first = min(cost.times)
    for turn, timing in cost.times.items():
        line = f"turn {turn} of an editing session: {1e3 * timing.median:.1f} ms"
        if turn != first:
            line += f", {timing.ratio_to(cost.times[first]):.3f} of turn {first}"
        print(line)
    print(f"programs compiled after the first turn: {len(cost.compiled)}")
    new = cost.branches * cost.frame
    print(
        f"a frame is {cost.frame / 2**10:.1f} KiB, a turn keeps "
        f"{cost.per_turn / 2**10:.1f} KiB; {cost.branches} turns "
        f"{cost.session / 2**20:.2f} MiB, with {cost.branches} branches of a turn each "
        f"{cost.branched / 2**20:.2f} MiB: {(cost.branched - new) / cost.session:.3f} "
        "times as much but for their new frames"
    )


def everything(args: argparse.Namespace) -> None:
    """All of it as a table, under the machine, the versions and the commit."""
    from benchmarks.table import is_our_table, table

    if args.out is not None:
        files.check_replaceable(
            args.out, is_our_table, "a table of this command", "give another --out"
        )
    rows = []
    for command in ALL:
        told = " ".join(command)
        print(f"== {told}", file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, __file__, *command], capture_output=True, text=True
        )
        if done.returncode:
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            raise UserError(f"'benchmark.py {told}' failed: {last}")
        rows += [(told, line) for line in done.stdout.splitlines()]
    text = table(rows)
    print(text)
    if args.out is not None:
        files.write_text(args.out, text)


COMMANDS = {
    "attention": attention,
    "step": step,
    "convert": convert,
    "data": data,
    "compile": compiling,
    "certificate": certificate,
    "session": session,
    "all": everything,
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument(
        "what", choices=tuple(COMMANDS), help="which; the lines above say of what"
    )
    parser.add_argument("--peer", help="of step: diffusers")
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[64, 256, 1024], help="of attention"
    )
    parser.add_argument(
        "--repetitions", type=int, default=10, help="of all that is timed"
    )
    parser.add_argument(
        "--cores", type=int, default=1, help="compute on so many (default: 1)"
    )
    parser.add_argument("--out", type=Path, help="of all: file of the table")
    with exit_on_user_error():
        args = parser.parse_args(argv)
        for name in ("cores", "repetitions"):
            if getattr(args, name) < 1:
                raise UserError(
                    f"--{name} must be 1 or more, given {getattr(args, name)}"
                )
        from benchmarks.timing import pinned

        with pinned(args.cores) as cores:
            if cores < args.cores:
                raise UserError(f"--cores {args.cores}: this machine has {cores}")
            COMMANDS[args.what](args)


if __name__ == "__main__":
    main()
