"""The command line of the benchmarks: `python -m bench NAME`."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from bench import evidence
from bench.evidence import EVIDENCE

THROUGHPUT = ("cpu", "gpu")


def main() -> None:
    arguments = parser().parse_args(with_name(sys.argv[1:]))
    if arguments.name in THROUGHPUT:
        from bench.throughput import command

        sys.exit(command.main(arguments.name, arguments.benchmarks, arguments.out, arguments.json, arguments.quick))
    elif arguments.name == "loader":
        from bench.loader import run

        workloads = arguments.workload or run.WORKLOADS
        options = run.Options(workloads, 1 if arguments.quick else arguments.rounds, 0.3 if arguments.quick else 1.0)
        run.main(arguments.out, arguments.json, arguments.work, options)
    elif arguments.name == "faults":
        from bench.faults import matrix

        sys.exit(
            matrix.main(
                arguments.out, arguments.work, matrix.select_faults(arguments.fault, arguments.quick), arguments.workers
            )
        )
    elif arguments.name == "long-run":
        from bench import long_run

        long_run.main(arguments.out, arguments.work, arguments.images, arguments.kill_every)
    elif arguments.name in EVIDENCE:
        evidence.main(arguments.name, arguments.out, arguments.work, arguments.spec, arguments.overrides)
    else:
        import_module(f"bench.{arguments.name.replace('-', '_')}").main(arguments.out, arguments.work)


def with_name(arguments: list[str]) -> list[str]:
    """Return the arguments; put `cpu` before them if the first one is not the name of a command."""
    names = {name for action in parser()._actions for name in action.choices or ()}
    return arguments if not arguments or arguments[0] in {*names, "-h", "--help"} else ["cpu", *arguments]


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top_level = argparse.ArgumentParser(
        prog="python -m bench",
        description="Run a benchmark; write a table, a JSON file and plots.",
        epilog="example: python -m bench --json rows.json B5 B7 (the same as python -m bench cpu --json ...)",
    )
    commands = top_level.add_subparsers(dest="name", metavar="NAME", required=True)
    throughput = [commands.add_parser("cpu", help="images per second beside other tools, on a CPU: B1 to B8")]
    throughput.append(commands.add_parser("gpu", help="all benchmarks for a GPU; none starts after 500 seconds"))
    for command in throughput:
        command.add_argument(
            "benchmarks", metavar="BENCHMARK", nargs="*", help="run only these, such as B5 (default: all)"
        )
        command.add_argument("--out", metavar="DIR", type=Path, help="write DIR/NAME.json and DIR/NAME.md")
        command.add_argument("--json", metavar="FILE", type=Path, help="write the rows to this file")
        command.add_argument("--quick", action="store_true", help="tiny sizes and one round, to check that it works")
    diversity = commands.add_parser("diversity", help="how the wording of prompts changes diversity and accuracy")
    collapse = commands.add_parser("collapse", help="a mixture of Gaussians refitted on its own samples")
    retrained = commands.add_parser("collapse-generator", help="the embedded generator retrained on its own images")
    loader = commands.add_parser("loader", help="our stream beside other loaders, on the same samples")
    writer = commands.add_parser("writer", help="our writer beside webdataset's")
    faults = commands.add_parser("faults", help="faults of real clusters, injected into real runs")
    long_run = commands.add_parser(
        "long-run", help="many images to an object store while actors and drivers are killed"
    )
    control = commands.add_parser("control-plane", help="the driver with 1,000 simulated actors and 10,000,000 images")
    experiments = [commands.add_parser(name, help=experiment.description) for name, experiment in EVIDENCE.items()]
    for command in experiments:
        command.add_argument("--spec", metavar="FILE", help="run this spec instead of the default one")
        command.add_argument(
            "--set",
            metavar="KEY=VALUE",
            action="append",
            default=[],
            dest="overrides",
            help="change a field of the spec",
        )
    for command in (diversity, collapse, retrained, writer, loader, faults, long_run, control, *experiments):
        command.add_argument(
            "--out",
            metavar="DIR",
            type=Path,
            default=Path("bench/results"),
            help="folder of the results (default: %(default)s)",
        )
        command.add_argument("--work", metavar="DIR", type=Path, help="keep intermediate files here, and reuse them")
    loader.add_argument("--json", metavar="FILE", type=Path, help="write the rows to this file as well")
    loader.add_argument(
        "--workload", metavar="NAME", action="append", help='run only this one, such as "32x32 PNG"; repeatable'
    )
    loader.add_argument(
        "--rounds", type=int, default=5, help="rounds; each measures every system once (default: %(default)s)"
    )
    loader.add_argument("--quick", action="store_true", help="one short round, to check that it works")
    faults.add_argument("--fault", metavar="NAME", action="append", help="run only this one; repeatable")
    faults.add_argument("--quick", action="store_true", help="run only the quick faults")
    faults.add_argument(
        "--workers", type=int, action="append", help="run only with this number of actors, 1 or 4; repeatable"
    )
    long_run.add_argument("--images", type=int, default=90_000, help="images of the run (default: %(default)s)")
    long_run.add_argument(
        "--kill-every",
        metavar="SECONDS",
        type=float,
        default=30.0,
        help="mean time between kills (default: %(default)s)",
    )
    return top_level


if __name__ == "__main__":
    main()
