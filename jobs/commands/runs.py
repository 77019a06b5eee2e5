"""The commands that make a run and its report."""

from argparse import Namespace

from jobs.arguments import AddCommand, log_argument, run_argument, spec_and_run_arguments


def register(command: AddCommand) -> None:
    """Add the commands."""
    make = command(
        "generate",
        generate,
        "Plan a spec and make its shards; the same command again resumes.",
        "generate jobs/specs/digits.yaml --out runs/digits --set model.steps=8 --dry-run",
    )
    spec_and_run_arguments(make)
    make.add_argument("--dry-run", action="store_true", help="print plan, first prompts and disk; make nothing")
    make.add_argument("--measure", action="store_true", help="a dry run that makes one batch, to forecast the time")
    make.add_argument("--profile", action="store_true", help="write RUN/profile.json, a trace of where the time goes")
    log_argument(make)

    run_argument(command("report", report, "Write RUN/report.html again.", "report runs/digits"))


def generate(arguments: Namespace) -> None:
    """Plan, make every unit that is not finished, write the card and the report."""
    from engine.config.spec_file import load_spec

    spec = load_spec(arguments.spec, arguments.overrides)  # an error in the spec is reported before heavy imports

    from engine.monitoring.log import open_log
    from engine.workflows.generation import forecast, generate, prepare_run

    log = open_log(arguments.log_format)
    run = prepare_run(spec, arguments.out, log)
    if not arguments.dry_run and not arguments.measure:
        generate(run, log, profile=arguments.profile)
        return

    from engine.monitoring.dry_run import print_plan
    from engine.monitoring.estimate import check_disk

    expected = forecast(run, log, measure=arguments.measure)
    if expected.batch_size_is_assumed:
        size = expected.run.context.spec.model.batch_size
        print(f"batch size: auto, measured when the run begins; this plan assumes {size}")
    print_plan(expected.run, expected.estimate, expected.timing)
    check_disk(expected.run, expected.estimate)


def report(arguments: Namespace) -> None:
    """Write the report of a run again."""
    from engine.report.write_report import write_report
    from engine.run.run import load_run

    print(f"report: {write_report(load_run(arguments.place))}")
