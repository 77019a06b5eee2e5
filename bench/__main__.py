"""`python -m bench NAME`."""

import argparse
from importlib import import_module
from pathlib import Path

NAMES = ("diversity",)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure, and write a table, a JSON file and plots.",
        epilog="example: python -m bench diversity --out bench/results",
    )
    parser.add_argument("name", metavar="NAME", choices=NAMES, help=", ".join(NAMES))
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("bench/results"),
        help="folder of the results (default: %(default)s)",
    )
    parser.add_argument("--work", metavar="DIR", type=Path, help="keep the runs here, and go on with them")
    chosen = parser.parse_args()
    import_module(f"bench.{chosen.name}").main(chosen.out, chosen.work)


if __name__ == "__main__":
    main()
