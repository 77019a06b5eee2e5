"""Assets: the copies that a run keeps of the inputs that its spec names, and errors about changed inputs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import DataError, RunMismatch
from engine.run.run import begin_run, load_run, plan_run
from engine.run.run_context import RunContext
from engine.worker.runner import run_unit
from tests.engine.fakes import FakeGenerator
from tests.engine.places import CONTROLNET, PALETTE, SHAPES, Change, bank, edges, fill, layouts, of_bank, spec


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return fill(tmp_path)


KINDS: list[Change] = [of_bank, layouts, edges]


def make(context: RunContext, folder: Path) -> list[bytes]:
    """Make the missing units of a run, and return the bytes of its tars."""
    run = begin_run(context, folder)
    for number in run.pending():
        run_unit(run.context, number, FakeGenerator(), run.shards)
    return [path.read_bytes() for path in sorted(run.shards.local.glob("*.tar"))]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_resumes_without_its_input_files(kind: Change, place: Path) -> None:
    run, run_spec = place / "run", spec(place, kind(place))
    tars = make(plan_run(run_spec, run), run)
    control = requested(load_run(run).context)
    for name in ("layouts", "bank.parquet"):
        (place / name).rename(place / f"moved-{name}")
    for path in (run / "shards").glob("00001*"):
        path.unlink()
    assert make(plan_run(run_spec, run), run) == tars
    assert requested(load_run(run).context) == control
    # The batch size is measured in another folder, with the inputs of the run.
    assert requested(begin_run(plan_run(run_spec, run), place / "measured").context) == control


def requested(context: RunContext) -> list[tuple[str, bytes]]:
    """Return prompt and control image of every slot."""
    requests = [context.request(context.plan.slot(index), 0) for index in range(context.plan.total)]
    return [
        (request.prompt.text, request.condition.control(8, 8).tobytes() if request.condition else b"")
        for request in requests
    ]


def change_bank(place: Path) -> str:
    bank(place / "bank.parquet", "person", "car")
    return f"{place / 'bank.parquet'} has other content"


def change_layout(place: Path) -> str:
    shutil.copy(place / "layouts/car/0.png", place / "layouts/car/1.png")
    return "condition has other content"


def change_photo(place: Path) -> str:
    (place / "photos/car/0.png").unlink()
    return "condition has other content"


@pytest.mark.parametrize(("kind", "change"), [(of_bank, change_bank), (layouts, change_layout), (edges, change_photo)])
def test_changed_inputs_are_refused_by_name(kind: Change, change: Callable[[Path], str], place: Path) -> None:
    run, run_spec = place / "run", spec(place, kind(place))
    make(plan_run(run_spec, run), run)
    words = change(place)
    with pytest.raises(RunMismatch) as caught:
        begin_run(plan_run(run_spec, run), run)
    assert words in str(caught.value)
    assert "use another --out" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_a_damaged_copy_is_named(kind: Change, damage: Callable[[Path], object], place: Path) -> None:
    run, run_spec = place / "run", spec(place, kind(place))
    begin_run(plan_run(run_spec), run)
    copy = min(path for path in (run / "assets").rglob("*") if path.suffix in (".parquet", ".tar"))
    damage(copy)
    with pytest.raises(RunMismatch, match=r"the run's copy of .* was changed; put the old one back"):
        load_run(run)


def test_equal_assets_are_equal_files_whatever_their_place(place: Path) -> None:
    begin_run(plan_run(spec(place, of_bank(place))), place / "one")
    (place / "bank.parquet").rename(place / "other.parquet")
    begin_run(plan_run(spec(place, {"prompts": {"bank": str(place / "other.parquet")}})), place / "two")
    first, second = ([path.name for path in (place / run / "assets").iterdir()] for run in ("one", "two"))
    assert first == second
    assert len(first) == 1


def test_only_what_the_quotas_need_is_kept(place: Path) -> None:
    few = {"plan": {"per_class": 4, "overrides": {"car": 0}}}
    context = plan_run(spec(place, layouts(place) | few))
    (place / "layouts/car/0.png").unlink()
    (place / "layouts/car/1.png").write_bytes(b"no image")
    assert plan_run(spec(place, layouts(place) | few)).plan.digest == context.plan.digest
    run = begin_run(context, place / "run")
    assert {image.class_name for image in context.assets.images} == {"person"}
    assert run.context.assets.condition is not None


def test_the_order_of_a_palette_is_part_of_the_run(place: Path) -> None:
    turned = dict(reversed(PALETTE.items()))
    for change in (layouts(place), {"model": CONTROLNET, "classes": ["car"], "condition": SHAPES}):
        run = place / f"run-{change['condition']['source']}"
        begin_run(plan_run(spec(place, change)), run)
        other = change | {"condition": change["condition"] | {"palette": turned}}
        with pytest.raises(RunMismatch, match="palette: the order road, car, person -> person, car, road"):
            begin_run(plan_run(spec(place, other)), run)


def test_a_run_folder_can_be_used_after_a_layout_is_repaired(place: Path) -> None:
    whole = (place / "layouts/car/1.png").read_bytes()
    (place / "layouts/car/1.png").write_bytes(whole[:90])
    run_spec = spec(place, layouts(place))
    with pytest.raises(DataError):
        begin_run(plan_run(run_spec), place / "run")
    (place / "layouts/car/1.png").write_bytes(whole)
    assert len(make(plan_run(run_spec), place / "run")) == 2
