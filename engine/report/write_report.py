"""The file RUN/report.html."""

from engine.errors import OutputError
from engine.run.run import Run

FILE = "report.html"


def write_report(run: Run) -> str:
    """Write RUN/report.html, below 5 MB, from what is finished of the run now, and return its path or URL.

    Raises ShardError for a damaged shard, RunMismatch for damaged results of a sweep or of measures, OutputError.
    """
    from engine.report.page import render  # imports jinja2 and matplotlib

    path, text = f"{run.store}/{FILE}", render(run)
    try:
        run.store.replace(FILE, text.encode())
        run.store.sweep()
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror}; make room or change the folder's permissions"
        ) from None
    return path
