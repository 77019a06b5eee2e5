"""Making a run, asking whether it helped, and looking at it again."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.arguments import AddCommand, run_argument, spec_arguments

if TYPE_CHECKING:
    from engine.estimate import Pace
    from engine.run import Run


def register(command: AddCommand) -> None:
    """The commands of this file."""
    make = command(
        "generate",
        generate,
        "Plan a spec and make its shards; the same command again resumes.",
        "generate jobs/specs/digits.yaml --out runs/digits --set model.steps=8 --dry-run",
    )
    spec_arguments(make)
    make.add_argument("--dry-run", action="store_true", help="print plan, first prompts and disk; make nothing")
    make.add_argument("--measure", action="store_true", help="a dry run that makes one batch, to tell the time")

    compare = command(
        "sweep",
        sweep,
        "Train classifiers at each alpha on a finished run; report on real validation.",
        "sweep jobs/specs/digits.yaml --out runs/digits --set sweep.seeds=5",
    )
    spec_arguments(compare)

    text = "Check every hash, count, label and key of a run; name missing units."
    run_argument(command("verify", verify, text, "verify runs/digits"))

    text = "Make one image of a run again and compare it with the stored one."
    again = command("replay", replay, text, "replay runs/digits 000000042 --save again.png")
    run_argument(again)
    again.add_argument("key", metavar="KEY", help="key of a sample, as in its member names")
    again.add_argument("--save", metavar="FILE", type=Path, help="write the image made again to this file")

    run_argument(command("report", report, "Write RUN/report.html again.", "report runs/digits"))


def generate(arguments: Namespace) -> None:
    """Plan, make every unit that is not finished, write the card and the report."""
    from engine.specfile import load_spec

    spec = load_spec(arguments.spec, arguments.overrides)

    from engine.errors import UnitsFailed
    from engine.estimate import check_disk, estimate
    from engine.run import Run, begin_run, pinned, plan_run
    from jobs.commands.lint import warn

    recipe = plan_run(pinned(spec, arguments.out), arguments.out)
    if not (arguments.out / "spec.yaml").exists():  # a run that goes on was warned of
        warn(recipe)
    if arguments.dry_run or arguments.measure:
        _dry_run(Run(arguments.out, recipe), arguments.measure)
        return
    run = begin_run(recipe, arguments.out)
    check_disk(run, estimate(run))
    try:
        if run.pending():
            _make(run)
    except UnitsFailed:
        _finish(run)
        raise
    _finish(run)


def sweep(arguments: Namespace) -> None:
    """Train at each alpha and seed, write sweep.json and the report."""
    from engine.specfile import load_spec

    spec = load_spec(arguments.spec, arguments.overrides)

    from engine.run import begin_run, load_run, pinned, plan_run
    from engine.sweep import prepare_sweep, write_sweep

    load_run(arguments.out)  # a sweep looks at a run, and begins none
    run = begin_run(plan_run(pinned(spec, arguments.out), arguments.out), arguments.out)
    prepared = prepare_sweep(run)

    from engine.cluster.session import ray_session
    from engine.cluster.trials import run_trials

    with ray_session(spec.cluster):
        run_trials(prepared)
    print(write_sweep(prepared).verdict)
    _write_report(run)


def verify(arguments: Namespace) -> None:
    """Print every finding; an error if there is one."""
    from engine.errors import Mismatch
    from engine.run import load_run
    from shards.verify import verify_folder

    run = load_run(arguments.run_folder)
    plan = run.recipe.plan
    names = [plan.shard_name(number) for number in range(plan.n_units)]
    findings = list(verify_folder(run.shards, plan.classes, names, plan.digest))
    for finding in findings:
        print(finding.text)
    if findings:
        raise Mismatch(
            f"{run.folder}: {len(findings)} findings; move every file of the damaged shards away "
            "(NNNNN.tar, .parquet and _stats.json) and run generate again"
        )
    print(f"verified: {_summary(run)}")


def replay(arguments: Namespace) -> None:
    """Print whether the image came out the same; an error if not."""
    from engine.errors import Mismatch
    from engine.replay import replay as make_again
    from engine.run import load_run

    run = load_run(arguments.run_folder)
    found = make_again(run, arguments.key)
    if arguments.save is not None:
        arguments.save.write_bytes(found.made)
    print(f"{found.key}: {found.prompt!r}, seed {found.seed}")
    if not found.equal:
        raise Mismatch(
            f"the image differs, by at most {found.largest_difference} of 255; equal bytes are promised for equal "
            "software and kind of device, which the unit's stats file names"
        )
    print("equal, byte for byte")


def report(arguments: Namespace) -> None:
    """Write the report of a run again."""
    from engine.run import load_run

    _write_report(load_run(arguments.run_folder))


def _make(run: "Run") -> None:
    from engine.cluster.generate import generate as make
    from engine.cluster.session import ray_session
    from engine.progress import Progress

    recipe = run.recipe
    done = list(run.stats().values())
    with ray_session(recipe.spec.cluster), Progress(recipe.plan.classes, recipe.plan.quotas, done) as progress:
        make(run, progress)


def _dry_run(run: "Run", measured: bool) -> None:
    from engine.dryrun import print_plan
    from engine.estimate import check_disk, estimate

    expected = estimate(run)
    pace = _measure(run) if measured else None
    print_plan(run, expected, pace)
    check_disk(run, expected)


def _measure(run: "Run") -> "Pace":
    from tempfile import TemporaryDirectory

    from engine.cluster.generate import measure
    from engine.cluster.session import ray_session
    from engine.run import begin_run

    # Beside the run folder to be, for actors on other nodes need the inputs that a run keeps copies of.
    beside = next(folder for folder in run.folder.absolute().parents if folder.is_dir())
    with TemporaryDirectory(prefix=".measure-", dir=beside) as place, ray_session(run.recipe.spec.cluster):
        begun = begin_run(run.recipe, Path(place))
        return measure(begun.recipe, begun.shards)


def _finish(run: "Run") -> None:
    run.write_card()
    print(_summary(run))
    _write_report(run)


def _summary(run: "Run") -> str:
    stats, plan = run.stats().values(), run.recipe.plan
    kept, failed = sum(one["count"] for one in stats), sum(len(one["failures"]) for one in stats)
    made = f"{len(stats)} of {plan.n_units} shards in {run.shards}, {kept:,} images"
    return f"{made}; {plan.total:,} slots planned, {failed:,} failed"


def _write_report(run: "Run") -> None:
    from engine.report import write_report

    print(f"report: {write_report(run).absolute()}")
