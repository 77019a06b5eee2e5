"""The report of a run: one self-contained page, for people who would rather look than read.

    tally       what the stats files add up to
    findings    what the sweep found; `alternatives`: beside what else could be done; `confusion`: of which classes
    measured    what `measure` found; `scatter`: each class's gain against its distance
    charts      the curve over alpha as SVG; `axis`: for charts that the page's style draws
    pictures    thumbnails; `sheets`: of each class; `gallery`: with predictions; `likeness`: beside real ones
    page        all of it as HTML, from the templates beside it

Only `page` knows of HTML, and only `charts` and `axis` of matplotlib. The page has no script: what switches in it does
so by its style, so nothing that a stranger's text smuggles in could ever run.
"""

from engine.errors import OutputError
from engine.run.run import Run

NAME = "report.html"


def write_report(run: Run) -> str:
    """Write RUN/report.html as the run stands now: partly made, made, swept or measured. Gives its path or URL.

    The page needs no other file and no network, and stays below 5 MB whatever the size of the run.
    Raises ShardError for a damaged shard, RunMismatch for damaged results of a sweep or of measures, OutputError.
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
