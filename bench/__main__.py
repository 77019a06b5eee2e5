"""`python -m bench NAME`."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from bench import evidence
from bench.evidence import EVIDENCE

THROUGHPUT = ("cpu", "gpu")


def main() -> None:
    chosen = parser().parse_args(with_name(sys.argv[1:]))
    if chosen.name in THROUGHPUT:
        from bench.throughput import command

        sys.exit(command.main(chosen.name, chosen.benchmarks, chosen.out, chosen.json, chosen.quick))
    elif chosen.name == "loader":
        from bench.loader import run

        workloads = chosen.workload or run.WORKLOADS
        options = run.Options(workloads, 1 if chosen.quick else chosen.rounds, 0.3 if chosen.quick else 1.0)
        run.main(chosen.out, chosen.json, chosen.work, options)
    elif chosen.name == "faults":
        from bench.faults import matrix

        sys.exit(matrix.main(chosen.out, chosen.work, matrix.select_faults(chosen.fault, chosen.quick), chosen.workers))
    elif chosen.name == "long-run":
        from bench import long_run

        long_run.main(chosen.out, chosen.work, chosen.images, chosen.kill_every)
    elif chosen.name in EVIDENCE:
        evidence.main(chosen.name, chosen.out, chosen.work, chosen.spec, chosen.overrides)
    else:
        import_module(f"bench.{chosen.name.replace('-', '_')}").main(chosen.out, chosen.work)


def with_name(arguments: list[str]) -> list[str]:
    """The arguments, with `cpu` before them where they name none of the commands."""
    named = {one for action in parser()._actions for one in action.choices or ()}
    return arguments if not arguments or arguments[0] in {*named, "-h", "--help"} else ["cpu", *arguments]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    whole = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure, and write a table, a JSON file and plots.",
        epilog="example: python -m bench --json rows.json B5 B7, which is the same as python -m bench cpu --json ...",
    )
    names = whole.add_subparsers(dest="name", metavar="NAME", required=True)
    throughput = [names.add_parser("cpu", help="images per second beside what others do, on a CPU: B1 to B8")]
    throughput.append(names.add_parser("gpu", help="everything for a GPU; nothing begins after 500 seconds"))
    for one in throughput:
        one.add_argument("benchmarks", metavar="BENCHMARK", nargs="*", help="only these, as B5; all if none")
        one.add_argument("--out", metavar="DIR", type=Path, help="write DIR/NAME.json and DIR/NAME.md")
        one.add_argument("--json", metavar="FILE", type=Path, help="write the rows here")
        one.add_argument("--quick", action="store_true", help="tiny shapes and one round, to see that it works")
    diversity = names.add_parser("diversity", help="what the wording of prompts does")
    collapse = names.add_parser("collapse", help="a mixture of Gaussians refitted on its own samples")
    retrained = names.add_parser("collapse-generator", help="the embedded generator retrained on its own images")
    loader = names.add_parser("loader", help="our stream beside other loaders, over the same samples")
    writer = names.add_parser("writer", help="our writer beside webdataset's")
    faults = names.add_parser("faults", help="what breaks in clusters, done to real runs")
    long_run = names.add_parser("long-run", help="many images to an object store, with kills")
    control = names.add_parser("control-plane", help="the driver with 1,000 simulated actors and 10,000,000 images")
    experiments = [names.add_parser(name, help=one.what) for name, one in EVIDENCE.items()]
    for one in experiments:
        one.add_argument("--spec", metavar="FILE", help="another one than for CIFAR-10")
        one.add_argument(
            "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides", help="of the spec"
        )
    for one in (diversity, collapse, retrained, writer, loader, faults, long_run, control, *experiments):
        one.add_argument(
            "--out",
            metavar="DIR",
            type=Path,
            default=Path("bench/results"),
            help="folder of the results (default: %(default)s)",
        )
        one.add_argument("--work", metavar="DIR", type=Path, help="keep what was made here, and go on with it")
    loader.add_argument("--json", metavar="FILE", type=Path, help="write the rows here as well")
    loader.add_argument("--workload", metavar="NAME", action="append", help='only this one, as "32x32 PNG"; repeatable')
    loader.add_argument("--rounds", type=int, default=5, help="of every system, by turns (default: %(default)s)")
    loader.add_argument("--quick", action="store_true", help="one short round, to see that it works")
    faults.add_argument("--fault", metavar="NAME", action="append", help="only this one; repeatable")
    faults.add_argument("--quick", action="store_true", help="the short half")
    faults.add_argument("--workers", type=int, action="append", help="only with so many actors, 1 or 4")
    long_run.add_argument("--images", type=int, default=90_000, help="default: %(default)s")
    long_run.add_argument("--kill-every", metavar="SECONDS", type=float, default=30.0, help="default: %(default)s")
    return whole


if __name__ == "__main__":
    main()
