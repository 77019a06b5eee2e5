"""The command line: `python -m jobs COMMAND`, or `shardmill COMMAND`.

Parsing imports nothing heavy; each command imports what it needs when it runs.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs import commands
from shards.errors import ShardmillError

_EXAMPLES = {
    "generate": "generate jobs/specs/digits.yaml --out runs/digits --set model.steps=8 --dry-run",
    "sweep": "sweep jobs/specs/digits.yaml --out runs/digits --set sweep.seeds=5",
    "train-generator": "train-generator jobs/specs/digits-generator.yaml --out models/digits",
    "verify": "verify runs/digits",
    "replay": "replay runs/digits 000000042 --save again.png",
    "report": "report runs/digits",
}


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="python -m jobs",
        description="Make labelled synthetic images from one spec, and measure whether they help.",
        epilog="\n  python -m jobs ".join(["examples:", *_EXAMPLES.values()]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    groups = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        example = f"example: python -m jobs {_EXAMPLES[name]}"
        added = groups.add_parser(name, help=text, description=text, epilog=example)
        added.set_defaults(run=run)
        added.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return added

    generate = command(
        "generate", commands.generate, "Plan a spec and make its shards; the same command again resumes."
    )
    _spec_arguments(generate)
    generate.add_argument("--dry-run", action="store_true", help="print plan, first prompts and disk; make nothing")
    generate.add_argument("--measure", action="store_true", help="a dry run that makes one batch, to tell the time")

    sweep = command(
        "sweep", commands.sweep, "Train classifiers at each alpha on a finished run; report on real validation."
    )
    _spec_arguments(sweep)

    trainer = command(
        "train-generator", commands.train_generator, "Train a small text-to-image model on the world split."
    )
    _spec_arguments(trainer)

    verify = command("verify", commands.verify, "Check every hash, count, label and key of a run; name missing units.")
    _run_argument(verify)

    replay = command("replay", commands.replay, "Make one image of a run again and compare it with the stored one.")
    _run_argument(replay)
    replay.add_argument("key", metavar="KEY", help="key of a sample, as in its member names")
    replay.add_argument("--save", metavar="FILE", type=Path, help="write the image made again to this file")

    report = command("report", commands.report, "Write RUN/report.html again.")
    _run_argument(report)
    return top


def _spec_arguments(added: argparse.ArgumentParser) -> None:
    added.add_argument("spec", metavar="SPEC", type=Path, help="YAML file, like jobs/specs/digits.yaml")
    added.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the result")
    added.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="override a key of the spec, like model.steps=8; may be given often",
    )


def _run_argument(added: argparse.ArgumentParser) -> None:
    added.add_argument("run_folder", metavar="RUN", type=Path, help="the --out of a generate command")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code: 0, 1 (something failed), 2 (bad input), 130 (stopped)."""
    chosen = parser().parse_args(arguments)
    try:
        chosen.run(chosen)
    except ShardmillError as error:
        if chosen.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
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
