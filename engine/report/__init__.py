from pathlib import Path
from engine.run import Run
def write_report(run: Run) -> Path:
    return run.folder / "report.html"
