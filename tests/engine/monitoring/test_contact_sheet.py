"""The contact sheet: its images, the times of its updates, and errors that do not stop a run."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import Stopped
from engine.monitoring.contact_sheet import PER_CLASS, ContactSheet, ThumbnailSelection, shown_units
from engine.monitoring.log import TextLog
from engine.run.plan import Plan
from engine.run.run import Run
from shards.codec import decode_rgb
from shards.storage.folder_store import FolderStore
from shards.tools.image_grid import CELL
from tests.engine import small_run

POOL = {"actors": 1, "loading": 0, "waiting": 3}


class CountingStore(FolderStore):
    """A store in a folder that counts the bytes that are read from its tars."""

    reads = 0

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        self.reads += name.endswith(".tar")
        return super().read(name, start, size)


def make_run(folder: Path, *units: int) -> Run:
    return small_run.make(small_run.begin(folder), *units)


def pixels(run: Run) -> np.ndarray[Any, Any]:
    return decode_rgb((run.store.local / "contact.jpg").read_bytes())


def test_the_same_images_are_selected_in_any_order(tmp_path: Path) -> None:
    run, selections = make_run(tmp_path, *range(small_run.UNITS)), []
    for order in itertools.islice(itertools.permutations(range(small_run.UNITS)), 0, 720, 97):
        selection = ThumbnailSelection()
        for unit in order:
            selection.add(run.shards, run.context.plan.shard_name(unit))
        selections.append({label: [rank for rank, _ in cells] for label, cells in selection.by_label.items()})
        assert all(cell.shape == (CELL, CELL, 3) for cells in selection.by_label.values() for _, cell in cells)
    assert all(ranks == selections[0] for ranks in selections)
    assert [len(selections[0][label]) for label in range(3)] == [PER_CLASS] * 3, (
        "only some of the 12 images of each class are selected"
    )


def test_only_selected_images_are_read(tmp_path: Path) -> None:
    run, selection = make_run(tmp_path, *range(small_run.UNITS)), ThumbnailSelection()
    shards = CountingStore(str(run.store.local / "shards"))
    before = 0
    for unit in range(small_run.UNITS):
        before_ranks = {rank for cells in selection.by_label.values() for rank, _ in cells}
        selection.add(shards, run.context.plan.shard_name(unit))
        new = {rank for cells in selection.by_label.values() for rank, _ in cells} - before_ranks
        assert shards.reads - before == len(new)
        before = shards.reads


@pytest.mark.parametrize("units", [1, 64, 65, 10_000, 100_000_000])
def test_few_units_are_shown_of_a_run_of_any_size(units: int) -> None:
    chosen = shown_units(Plan(("cat",), (0,), (units,), 0, 1, ""))
    assert max(chosen) < units
    assert min(units, 60) <= len(chosen) <= 64
    assert 0 in chosen, "the first unit is shown, so that the sheet is not empty for long"
    if units > 64:
        gaps = np.diff(sorted(chosen))
        assert gaps.max() <= 2 * units / 60, "the shown units are spread over the whole run"


def test_it_grows_with_the_run_until_it_is_complete(tmp_path: Path) -> None:
    run = make_run(tmp_path, 0, 1)
    with ContactSheet(run, [run.stats()["00000"]], TextLog(), seconds=0.0) as sheet:
        sheet.tick(**POOL)
        sheet._background.finish()
        early = pixels(run)
        written = (run.store.local / "contact.jpg").stat().st_mtime_ns
        sheet.tick(**POOL)
        sheet._background.finish()
        assert (run.store.local / "contact.jpg").stat().st_mtime_ns == written, "nothing has changed"
        small_run.make(run, *range(2, small_run.UNITS))
        for name in ("00001", "00002", "00003", "00004", "00005"):
            sheet.unit_done(run.stats()[name])
    late = pixels(run)
    assert early.shape[0] == late.shape[0] == 4 + 76 * 4
    assert late.shape[1] > early.shape[1], "there are more images of each class"
    resumed = make_run(tmp_path / "again", *range(small_run.UNITS))
    with ContactSheet(resumed, resumed.stats().values(), TextLog()):
        pass
    assert np.array_equal(pixels(resumed), late), "the final sheet does not depend on the course of the run"


def test_a_run_in_an_object_store_has_the_same(tmp_path: Path) -> None:
    remote = small_run.make(small_run.begin(tmp_path, place=f"memory://{tmp_path.name}/run"), *range(small_run.UNITS))
    local = make_run(tmp_path, *range(small_run.UNITS))
    for run in (local, remote):
        with ContactSheet(run, run.stats().values(), TextLog()):
            pass
    assert remote.store.read("contact.jpg") == local.store.read("contact.jpg")


def test_it_is_rewritten_only_so_often(tmp_path: Path) -> None:
    run = make_run(tmp_path, 0, 1)
    sheet = ContactSheet(run, [run.stats()["00000"]], TextLog(), seconds=3600.0)
    sheet.tick(**POOL)
    sheet._background.finish()
    first = (run.store.local / "contact.jpg").read_bytes()
    sheet.unit_done(run.stats()["00001"])
    sheet.tick(**POOL)
    sheet._background.finish()
    assert (run.store.local / "contact.jpg").read_bytes() == first
    sheet.__exit__(None, None, None)
    assert (run.store.local / "contact.jpg").read_bytes() != first


def test_errors_are_logged_and_stop_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path, 0, 1)
    stats = run.stats()
    (run.store.local / "shards/00001.parquet").write_bytes(b"no index")
    with ContactSheet(run, stats.values(), TextLog()):
        pass
    (line,) = capsys.readouterr().out.splitlines()
    assert "contact.jpg is incomplete: " in line
    assert "00001.parquet: cannot be read" in line
    assert pixels(run).std() > 20, "the undamaged shard is shown"
    shutil.rmtree(run.store.local)
    run.store.local.write_text("no folder any more")
    with ContactSheet(run, stats.values(), TextLog()):
        pass
    assert "contact.jpg is incomplete: " in capsys.readouterr().out


def test_a_stopped_run_does_not_wait_for_it(tmp_path: Path) -> None:
    run = make_run(tmp_path, 0)
    with pytest.raises(Stopped), ContactSheet(run, run.stats().values(), TextLog()):
        raise Stopped("now")
    assert not (run.store.local / "contact.jpg").exists()
