"""The command line: `python -m jobs COMMAND`, or `shardmill COMMAND`. Parsing imports nothing heavy."""

import argparse
import sys
from collections.abc import Callable, Sequence

from jobs.commands import (
    attributes,
    banks,
    checks,
    diversity,
    exchange,
    experiment,
    lint,
    measure,
    models,
    runs,
    shards,
    status,
    streams,
    train,
    watch,
)
from jobs.printing import escape_control_characters
from shards.errors import ShardmillError

_GROUPS = (
    runs,
    train,
    experiment,
    checks,
    status,
    watch,
    lint,
    attributes,
    banks,
    models,
    diversity,
    measure,
    exchange,
    streams,
    shards,
)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="python -m jobs",
        description="Make labelled synthetic images from one spec, and measure whether they help.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    examples = ["examples:"]

    def command(
        name: str, run: Callable[[argparse.Namespace], None], text: str, example: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, epilog=f"example: python -m jobs {example}")
        added.set_defaults(run=run)
        added.add_argument("--debug", action="store_true", help="show the traceback of an error")
        examples.append(example)
        return added

    for group in _GROUPS:
        group.register(command)
    top.epilog = "\n  python -m jobs ".join(examples)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code: 0, 1 (something failed), 2 (bad input), 3 (budget spent), or 128 and
    the number of the signal that stopped it."""
    chosen = parser().parse_args(arguments)
    try:
        chosen.run(chosen)
    except ShardmillError as error:
        if chosen.debug:
            raise
        print(escape_control_characters(f"error: {error}"), file=sys.stderr)
        if getattr(chosen, "log_format", "text") == "json":
            from engine.monitoring.log import JsonLog

            JsonLog().message("failed", str(error), "error", exit_code=error.exit_code)
        return error.exit_code
    except ModuleNotFoundError as error:
        if chosen.debug:
            raise
        extras = "pip install 'shardmill[generate,train]'"
        print(f"error: {error.name} is not installed, and this command needs it: {extras}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
