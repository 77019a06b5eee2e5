"""`python -m bench NAME`."""

import argparse
from importlib import import_module
from pathlib import Path


def main() -> None:
    chosen = parser().parse_args()
    if chosen.name == "loader":
        from bench.loader import run

        workloads = chosen.workload or run.WORKLOADS
        options = run.Options(workloads, 1 if chosen.quick else chosen.rounds, 0.3 if chosen.quick else 1.0)
        run.main(chosen.out, chosen.json, chosen.work, options)
    else:
        import_module(f"bench.{chosen.name}").main(chosen.out, chosen.work)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    whole = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure, and write a table, a JSON file and plots.",
        epilog="example: python -m bench diversity --out bench/results",
    )
    names = whole.add_subparsers(dest="name", metavar="NAME", required=True)
    diversity = names.add_parser("diversity", help="what the wording of prompts does")
    loader = names.add_parser("loader", help="our stream beside other loaders, over the same samples")
    writer = names.add_parser("writer", help="our writer beside webdataset's")
    for one in (diversity, writer, loader):
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
    return whole


if __name__ == "__main__":
    main()
