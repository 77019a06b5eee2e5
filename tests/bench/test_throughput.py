"""The throughput benchmarks: rows say what was measured, parts measure what they say, and whole commands run."""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bench.__main__ import parser, with_name
from bench.machine import Stolen, _ticks
from bench.throughput import command, control, determinism, flops, host, scaling
from bench.throughput.architectures import ARCHITECTURES
from bench.throughput.digits import digits_run
from bench.throughput.fake_device import FakeDevice, FakeSettings, fake_run
from bench.throughput.frames import photographs
from bench.throughput.peers import PROMPTS, prompts
from bench.throughput.results import ALL_OF_IT, Results, put_between
from bench.throughput.rounds import Options, by_turns
from bench.throughput.row import OURS, Row, at_least, at_most, beside, not_run, paired
from engine.config.cluster_spec import ClusterSpec
from engine.config.model_settings import GENERATORS
from engine.config.output_spec import OutputSpec
from engine.generators.generator import Images, Request

RATES = st.lists(st.tuples(st.floats(0.1, 1e6), st.floats(0.1, 1e6)), min_size=1, max_size=9)


@given(RATES, st.floats(0.01, 100))
def test_ratio_is_within_rounds_and_independent_of_speed(pairs: list[tuple[float, float]], slower: float) -> None:
    ours, theirs = zip(*pairs, strict=True)
    ratio = paired(ours, theirs)
    assert min(a / b for a, b in pairs) <= ratio <= max(a / b for a, b in pairs)
    assert paired([slower * rate for rate in ours], [slower * rate for rate in theirs]) == pytest.approx(ratio)


def test_rows_state_their_baseline_and_whether_they_meet_it() -> None:
    rates = {OURS: [10.0, 12.0, 8.0], "peer": [5.0, 5.0, 5.0], "other": [11.0, 12.0, 16.0]}
    first, second, peer, other = beside("B3", "w", rates, {"peer": 1.0, "other": 1.0})
    assert [(row.ratio, row.beside, row.ok) for row in (first, second)] == [
        (2.0, "peer", True),
        (10 / 11, "other", False),
    ]
    assert (peer.system, peer.ratio, peer.beside, peer.ok) == ("peer", 0.5, OURS, None)
    fields = first.as_json()
    assert (fields["median"], fields["spread"], fields["rounds"]) == (10, [8, 12], 3)
    assert fields.keys() >= {"bench", "workload", "system", "median", "spread", "ratio", "target", "ok"}
    assert [at_least("B5", "w", [590.0, 601.0, 602.0], "images/s", 600).ok, other.ok] == [True, None]
    assert [at_most("B8", "w", [seconds], "s", 10).ok for seconds in (9.9, 10.1)] == [True, False]
    skipped = not_run("B4", "w", OURS, "out of time").as_json()
    assert (skipped["median"], skipped["ok"], skipped["note"]) == (None, None, "not run: out of time")


def test_every_system_begins_a_round() -> None:
    order: list[str] = []

    def named(name: str) -> float:
        order.append(name)
        return float(len(order))

    rates = by_turns({name: lambda name=name: named(name) for name in "abc"}, 4)  # type: ignore[misc]
    assert "".join(order) == "abcbcacababc"
    assert rates["a"] == [1, 6, 8, 10]


def test_failed_benchmark_is_a_row_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(options: Options) -> Iterator[Row]:
        yield at_most("B8", "seconds", [1.0], "s", 10)
        raise OSError("no room")

    def fine(options: Options) -> Iterator[Row]:
        yield at_least("B5", "frames", [1.0], "images/s", 600)

    both = {"B8": broken, "B5": fine}
    monkeypatch.setattr(command, "_cpu_benchmarks", lambda folder, quick: (both, Options(folder, quick)))
    assert command.main("cpu", [], tmp_path / "out", tmp_path / "rows.json", quick=False) == 1
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["bench"], row["ok"]) for row in rows] == [("B5", False), ("B8", True), ("B8", None)]
    assert rows[2]["note"] == "not run: OSError: no room"
    assert all(row["machine"]["cores"] for row in rows)
    assert (tmp_path / "out" / "cpu.json").read_text() == (tmp_path / "rows.json").read_text()
    assert "| B5 | frames | shardmill | 1 images/s |" in (tmp_path / "out" / "cpu.md").read_text()
    assert "below its target: B5 frames" in capsys.readouterr().out
    monkeypatch.setattr(
        command, "_cpu_benchmarks", lambda folder, quick: ({**both, "B8": fine}, Options(folder, quick))
    )
    assert command.main("cpu", ["B5"], tmp_path / "out", None, quick=False) == 0
    rows = json.loads((tmp_path / "out" / "cpu.json").read_text())
    assert [row["bench"] for row in rows] == ["B5", "B8", "B8"], "those that were not asked for stay"
    with pytest.raises(SystemExit, match="no benchmark B9; there are B8, B5"):
        command.main("cpu", ["B9"], None, None, quick=False)


def test_the_table_stands_between_its_marks_on_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("top\n<!-- cpu -->\nold\n<!-- end of cpu -->\nrest\n")
    results = Results("cpu", [], None, [page], {"cores": 2})
    results.add(not_run("B8", "2.0", OURS, "no time"))
    for median in (1.0, 2.0, 1.0):  # the last takes the place of the first, as the second of what was not run
        results.add(at_most("B8", f"{median}", [median], "s", 10))
    text = page.read_text()
    assert text.startswith("top\n<!-- cpu -->\n")
    assert text.endswith("<!-- end of cpu -->\nrest\n")
    assert text.count("| B8 |") == 2
    assert "old" not in text
    assert 'Machine: {"cores": 2}' in text
    other = Results("cpu", [], None, [page], {"cores": 64}, results.rows)
    other.add(at_most("B5", "1", [1.0], "s", 10))
    text = page.read_text()
    assert '- Machine of B5: {"cores": 64}\n- Machine of B8: {"cores": 2}' in text, "each row keeps its own"
    assert text.index("| B5 |") < text.index("| B8 |")
    results.add(not_run("B6", ALL_OF_IT, OURS, "it failed"))
    assert "it failed" in page.read_text()
    results.add(at_most("B6", "1", [1.0], "s", 10))
    assert "it failed" not in page.read_text()
    with pytest.raises(ValueError, match="the page lacks <!-- gpu -->"):
        put_between(text, "gpu", "")
    assert put_between(command.PAGE.read_text(), "gpu", "x").count("<!-- gpu -->") == 1


def test_what_the_host_took_stands_below_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- cpu -->\n<!-- end of cpu -->\n")
    results = Results("cpu", [], None, [page], {})
    results.add(at_most("B5", "1", [1.0], "s", 10))
    assert "host" not in page.read_text()
    results.add(at_most("B6", "1", [1.0], "s", 10), 0.3)
    results.add(at_most("B6", "2", [1.0], "s", 10), 0.123)
    results.add(at_most("B8", "1", [1.0], "s", 10), 0.0)
    assert "took of its cores' time: B6 12%, B8 0%." in page.read_text()


def test_time_that_the_host_took(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([(1000, 10), (3000, 110)])
    monkeypatch.setattr("bench.machine._ticks", lambda: next(ticks))
    stolen = Stolen()
    assert stolen.share() == 0.05
    monkeypatch.setattr("bench.machine._ticks", lambda: (0, 0))
    assert Stolen().share() is None


def test_ticks_of_a_guest_are_counted_once(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  10 1 2 30 4 5 6 7 8 9\ncpu0 5 1 1 15 2 2 3 3 4 4\nintr 1\n")
    assert _ticks(stat) == (65, 7)  # user and nice have what guests took, so that the last two are in the sum
    assert _ticks(tmp_path / "none") == (0, 0)


@pytest.mark.parametrize(
    ("line", "name", "benchmarks"),
    [
        ("--json rows.json", "cpu", []),
        ("--json rows.json B5 B7", "cpu", ["B5", "B7"]),
        ("B5 --quick", "cpu", ["B5"]),
        ("gpu --quick first", "gpu", ["first"]),
        ("faults --quick", "faults", None),
    ],
)
def test_the_command_line(line: str, name: str, benchmarks: list[str] | None) -> None:
    chosen = parser().parse_args(with_name(line.split()))
    assert chosen.name == name
    assert getattr(chosen, "benchmarks", None) == benchmarks
    assert getattr(chosen, "json", None) == (Path("rows.json") if "json" in line else None)


@pytest.mark.parametrize(
    ("name", "denoiser", "decoder"),
    [
        ("SD1.5 512", 0.80, 2.51),
        ("SDXL 1024", 6.76, 10.5),
        ("Z-Image-Turbo 1024", 55.1, 10.5),
    ],
)
def test_operation_counts_match_published_ones(name: str, denoiser: float, decoder: float) -> None:
    architecture = ARCHITECTURES[name]
    assert flops.of_denoiser(architecture) == pytest.approx(denoiser, rel=0.01)
    assert flops.of_decoder(architecture) == pytest.approx(decoder, rel=0.01)
    assert flops.of_decoder(architecture, tiny=True) < flops.of_decoder(architecture) / 15


def test_an_image_costs_all_its_forwards_and_one_decoding() -> None:
    architecture = ARCHITECTURES["SD1.5 512"].small()
    inner, outer = flops.of_denoiser(architecture), flops.of_decoder(architecture)
    assert flops.of_image(architecture) == pytest.approx(
        2 * architecture.steps * inner + outer
    )  # guidance: two forwards a step
    assert flops.of_image(replace(architecture, guidance=0.0)) == pytest.approx(architecture.steps * inner + outer)


def test_ours_and_the_others_are_told_the_same_texts_as_often(tmp_path: Path) -> None:
    context = digits_run(tmp_path, 40, 20, prompts=PROMPTS).context
    ours = [context.prompt(context.plan.slot(index)).text for index in range(40)]
    assert Counter(ours) == Counter(prompts(40))


def test_writers_write_the_frames_that_they_were_given(tmp_path: Path) -> None:
    frames = photographs(host.DISTINCT, 64)
    for name, write in (
        ("ours", host._Ours(64, "png", 4)),
        ("webdataset", host._WebDataset(frames, 4)),
        ("pil", host._PilPng(frames, 4)),
    ):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    files = [path.read_bytes() for path in sorted((tmp_path / "pil").iterdir())]
    assert all(np.array_equal(_decoded(one), frames[n]) for n, one in enumerate(files))
    assert [_near(_decoded(member), frames) for member in _members(tmp_path / "webdataset" / "00000.tar", "jpg")] == [
        0,
        1,
        2,
        3,
    ]
    ours = _members(tmp_path / "ours" / "shards" / "00000.tar", "png")
    assert len(ours) == 4
    assert all(np.array_equal(_decoded(encoded), frames[_near(_decoded(encoded), frames)]) for encoded in ours)


def _members(tar: Path, suffix: str) -> list[bytes]:
    with tarfile.open(tar) as file:
        return [file.extractfile(member).read() for member in file if member.name.endswith(suffix)]  # type: ignore[union-attr]


def _decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _near(image: np.ndarray, frames: np.ndarray) -> int:
    return int(np.abs(frames.astype(int) - image).mean(axis=(1, 2, 3)).argmin())


class Neighbourly(FakeSettings):
    """The settings of a device whose images depend on their place in the batch."""

    kind: Literal["neighbourly"] = "neighbourly"  # type: ignore[assignment]


class NeighbourlyDevice(FakeDevice):
    def generate(self, requests: Sequence[Request]) -> Images:
        pixels = super().generate(requests).pixels
        return Images(pixels + np.arange(len(pixels), dtype=np.uint8)[:, None, None, None])


GENERATORS.register(Neighbourly, NeighbourlyDevice)


@pytest.mark.parametrize(("settings", "equal"), [(FakeSettings, True), (Neighbourly, False)])
def test_an_image_that_depends_on_its_neighbours_is_found(settings: type[FakeSettings], equal: bool) -> None:
    run = fake_run(".", 32, OutputSpec(), ClusterSpec(), settings(seconds=0.0, side=16, batch_size=4))
    requests = determinism._requests(run)
    shuffled, across = determinism.compare("w", run.context.spec, requests, (8,), 1)
    assert shuffled.ok is equal
    assert (shuffled.values[0] == 0) is equal
    assert (across.values[0] == 0) is equal
    assert across.note.startswith("0.0%") is equal


def test_only_units_with_a_repeated_batch_are_regenerated(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run = scaling._run(tmp_path, 1, FakeSettings(seconds=0.0, side=16, batch_size=scaling.BATCH, log=str(log)))
    plan = run.context.plan
    device = FakeDevice(run.context.spec.model, run.context.spec.output.image, run.context.spec.cluster)  # type: ignore[arg-type]
    units = [list(plan.slots(plan.unit(number))) for number in range(plan.n_units)]
    batches = [
        [slots[start : start + scaling.BATCH] for start in range(0, len(slots), scaling.BATCH)] for slots in units
    ]
    for batch in (
        batches[0][0],
        batches[0][0],
        *(requests for unit in batches for requests in unit),
    ):  # two that warm it up
        device.generate([run.context.request(slot, 0) for slot in batch])
    assert scaling.repeated_units(run, log.read_text().split()) == set()
    device.generate([run.context.request(slot, 0) for slot in batches[2][1]])
    assert scaling.repeated_units(run, log.read_text().split()) == {2}


def test_a_plan_takes_no_more_memory_for_more_images() -> None:
    memory, seconds = control._planned(1_000_000, 10_000, 1)
    assert memory.ok
    assert seconds.values[0] < 60


def test_the_listing_of_a_run_leaves_what_is_not_finished(tmp_path: Path) -> None:
    options = Options(tmp_path, quick=True)
    listed, read = control._listed(options, control._stats(tmp_path))
    assert listed.ok
    assert read.values[0] > 0


@pytest.mark.slow
def test_everything_for_a_gpu_runs_at_tiny_sizes_on_a_cpu(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    assert command.main("gpu", ["first", "turbo", "B4", "fast"], None, file, quick=True) == 0
    rows: list[dict[str, Any]] = json.loads(file.read_text())
    counts = Counter(row["bench"] for row in rows if row["median"] is not None)
    assert counts.keys() >= {"first", "B1", "B2", "B3", "B4", "fast path"}
    assert not [row for row in rows if row["bench"] == "B4" and row["median"] is None], "an error of one model is a row"
    assert all(row["ratio"] == 1 for row in rows if "made twice" in row["workload"])
    wrong = [row["workload"] for row in rows if row["bench"] == "first" and row["ratio"] < 1]
    assert not wrong, "on a CPU, fp32 is what it is compared with, and bf16 within its tolerance"
