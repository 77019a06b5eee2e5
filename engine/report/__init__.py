"""The report of a run: one self-contained page, for people who would rather look than read.

    tally     what the stats files add up to
    findings  what the sweep found
    charts    the accuracy curve as SVG
    sheets    a few images of each class
    page      all of it as HTML

Only `page` knows of HTML, and only `charts` of matplotlib.
"""

from engine.errors import OutputError
from engine.run import Run

NAME = "report.html"


def write_report(run: Run) -> str:
    """Write RUN/report.html as the run stands now: partly made, made, or swept. Gives its path or URL.

    The page needs no other file and no network, and stays below 5 MB whatever the size of the run.
    Raises ShardError for a damaged shard, RunMismatch for a damaged sweep.json, OutputError.
    """
    from engine.report.page import render

    path, text = f"{run.store}/{NAME}", render(run)
    try:
        run.store.replace(NAME, text.encode())
        run.store.sweep()
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror}; make room or mend the folder's rights"
        ) from None
    return path
