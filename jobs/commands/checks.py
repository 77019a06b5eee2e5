"""The commands that check a run: all of its bytes, or one image made again."""

from argparse import Namespace
from pathlib import Path

from engine.errors import Mismatch
from jobs.arguments import AddCommand, log_argument, run_argument
from jobs.printing import print_text


def register(command: AddCommand) -> None:
    """Add the commands."""
    text = "Check every hash, count, label and key of a run; name missing units."
    run_argument(command("verify", verify, text, "verify runs/digits"))

    text = "Verify a run, and make anew the units that are damaged, missing or unfinished; no other is touched."
    mend = command("repair", repair, text, "repair runs/digits --dry-run")
    run_argument(mend)
    mend.add_argument("--dry-run", action="store_true", help="say what would be made anew; change nothing")
    log_argument(mend)

    text = "Make one image of a run again and compare it with the stored one."
    again = command("replay", replay, text, "replay runs/digits 000000042 --save again.png")
    run_argument(again)
    again.add_argument("key", metavar="KEY", help="key of a sample, as in its member names")
    again.add_argument("--save", metavar="FILE", type=Path, help="write the image made again to this file")


def verify(arguments: Namespace) -> None:
    """Print every finding. Raise Mismatch if there is one."""
    from engine.run.run import load_run
    from engine.workflows.generation import summary
    from engine.workflows.repairing import findings

    run = load_run(arguments.place)
    count = 0
    for finding in findings(run):
        count += 1
        print_text(finding.text)
    if count:
        remedy = "`python -m jobs repair` makes damaged units anew, `generate` those that are missing alone"
        raise Mismatch(f"{run.store}: {count} findings; {remedy}")
    print(f"verified: {summary(run)}")


def repair(arguments: Namespace) -> None:
    """Print every finding, and make those units again."""
    from engine.monitoring.log import open_log
    from engine.run.run import load_run
    from engine.workflows.repairing import find_damage
    from engine.workflows.repairing import repair as make_anew

    run = load_run(arguments.place)
    damage, total = find_damage(run), run.context.plan.n_units
    for finding in damage.findings:
        print_text(finding.text)
    if damage.others:
        print(f"{damage.others} files are no part of the run; they stay, remove them by hand")
    if arguments.dry_run or not damage.units:
        print(f"{len(damage.units)} of {total} units to make anew")
        return
    print(f"making {len(damage.units)} of {total} units anew")
    make_anew(run, damage, open_log(arguments.log_format))


def replay(arguments: Namespace) -> None:
    """Print whether the image came out the same. Raise Mismatch if not."""
    from engine.run.run import load_run
    from engine.worker.replay import replay as make_again

    result = make_again(load_run(arguments.place), arguments.key)
    if arguments.save is not None:
        arguments.save.write_bytes(result.made)
    print(f"{result.key}: {result.prompt!r}, seed {result.seed}")
    if not result.equal:
        raise Mismatch(
            f"the image differs, by at most {result.largest_difference} of 255; equal bytes are promised for equal "
            "software and kind of device, which the unit's stats file names"
        )
    print("equal, byte for byte")
