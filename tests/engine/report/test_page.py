"""The whole page: its order, safety and size, and how it shows damaged inputs."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.errors import OutputError, RunMismatch
from engine.evaluation.sweep_result import SweepResult
from engine.report.confusion import confusion_matrices
from engine.report.write_report import write_report
from engine.run.run import Run
from shards.codec import encode_rgb
from shards.errors import ShardError
from tests.engine.fakes import FakeGenerator
from tests.engine.report.page_reader import ReadPage, assert_nothing_runs, read_page
from tests.engine.report.report_runs import NOISE, copy_of, make_run, write_results

HOSTILE = "<script>alert(1)</script>"


def test_sections_come_in_order(helped: Run) -> None:
    text = read_page(helped).text
    headings = [
        "Synthetic data helped: alpha 0.5",
        "Accuracy by synthetic fraction",
        "Comparison with alternatives",
        "Images of each class",
        "Confusion of classes",
        "Predictions on validation images",
        "Nearest real images",
        "Rejected and failed images",
        "Throughput and cost",
        "Provenance",
    ]
    places = [text.rindex(heading) for heading in headings]
    assert places == sorted(places)


def test_sections_without_content_are_left_out(copying: Run, swept: Run, tmp_path: Path) -> None:
    sections = ["verdict", "balance", "images", "rejects", "strategies", "throughput", "stages", "provenance"]
    assert read_page(copying).sections == sections
    run = copy_of(swept, tmp_path)
    shutil.rmtree(run.store.local / "sweep")
    assert not {"gallery", "distance"} & set(read_page(run).sections)
    shutil.rmtree(run.store.local / "real")
    assert "neighbours" not in read_page(run).sections


def test_class_names_and_prompts_are_escaped(helped: Run, tmp_path: Path) -> None:
    classes = json.dumps([HOSTILE, '"><img src=x onerror=alert(1)>', "ok"])
    run = make_run(tmp_path, f"name: x\nclasses: {classes}\nplan: {{per_class: 3}}\nmodel: {{source: a/b}}\n")
    for page in (read_page(run), read_page(helped)):
        assert HOSTILE in page.text
        assert_nothing_runs(page)


def test_names_are_escaped_in_every_section(tmp_path: Path) -> None:
    names = ["<script>alert(1)<", '"><img src=x onerror=alert(1)>', "'>{{ 7*7 }}"]
    run = make_run(tmp_path, noise_folder(tmp_path, names, 16) + "\nplan: {per_class: 7}\n")
    write_results(run, {})
    page = read_page(run)
    assert {"confusion", "gallery", "neighbours"} < set(page.sections)
    assert all(page.text.count(name) > 5 for name in names)
    assert_nothing_runs(page)


def test_page_fetches_nothing(helped: Run) -> None:
    page = read_page(helped)
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "xlink:href", "action", "data", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    assert not re.search(r"url\((?!#)|@import", page.html)
    assert "default-src 'none'" in page.html


def test_equal_runs_give_equal_pages(helped: Run) -> None:
    assert read_page(helped).html == read_page(helped).html


def test_large_run_has_a_small_page(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(30)]
    prompt = "noise that no codec can make small, " * 40
    text = (
        f"name: large\nclasses: {json.dumps(names)}\nplan: {{total: 434, weights: {{class 3: 2.0}}}}\n"
        f"prompts: {{templates: ['{prompt}']}}\nmodel: {{source: a/b}}\noutput: {{samples_per_shard: 70}}\n"
    )
    path = Path(write_report(make_run(tmp_path, text, FakeGenerator(8, 128))))
    page = ReadPage(path.read_text())
    assert path.stat().st_size < 5e6
    assert len(page.images("synthetic")) == 20 * 12
    assert "Of 30 classes, 20 are shown" in page.text
    assert "class 29 0 14 14 0 14" in page.text


def test_sweep_of_many_classes_and_arms_has_a_small_page(tmp_path: Path) -> None:
    names = {f"class {number:03d}": 12.0 for number in range(20)}
    alphas = [number / 25 for number in range(26)]
    settings = f"""
plan: {{total: 340, weights: {json.dumps(names)}}}
prompts: {{templates: ["{"words & <more> " * 40}"]}}
sweep: {{seeds: 1, alphas: {alphas}}}
output: {{samples_per_shard: 170, image: {{format: jpg, size: 96}}}}
"""
    data = noise_folder(tmp_path, [f"class {number:03d}" for number in range(100)], 96)
    run = make_run(tmp_path, data + settings, FakeGenerator(8, 96))
    write_results(run, {f"alpha-{alpha:g}": 0.5 + alpha / 4 for alpha in alphas})
    path = Path(write_report(run))
    page = ReadPage(path.read_text())
    assert path.stat().st_size < 5e6
    counts = {name: len(page.of_class(name)) for name in ("shot", "matrix", "sheet", "pair", "heat")}
    assert counts == {"shot": 200, "matrix": 24, "sheet": 20, "pair": 18, "heat": 0}
    sweep = SweepResult.read(run.store)
    assert sweep is not None
    pair = confusion_matrices(sweep)[0].pairs[0]  # a list instead of a matrix
    assert f"{pair.true} {pair.predicted} {pair.count} {pair.share:.1%}" in page.text


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path, NOISE, units=0)
    (run.store.local / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"report\.html: cannot be written: Is a directory"):
        write_report(run)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("sweep.json", "{}", r"sweep\.json: damaged .*run sweep again"),
        ("measures.json", '{"encoder": {}}', r"measures\.json: damaged .*run measure again"),
    ],
)
def test_damaged_results_are_named(noise_run: Run, tmp_path: Path, file: str, text: str, message: str) -> None:
    run = copy_of(noise_run, tmp_path)
    run.store.replace(file, text.encode())
    with pytest.raises(RunMismatch, match=message):
        write_report(run)


@pytest.mark.parametrize("text", ["{", "{}", "out of range"])
def test_damaged_predictions_are_named(helped: Run, tmp_path: Path, text: str) -> None:
    run = copy_of(helped, tmp_path)
    folder, name = run.store / "sweep", "alpha-0.5-0.json"
    if text == "out of range":
        content = json.loads(folder.read(name))
        content["predictions"]["validation"]["predicted"][0] = 99
        text = json.dumps(content)
    folder.replace(name, text.encode())
    with pytest.raises(RunMismatch, match=r"alpha-0\.5-0\.json: damaged .*remove it and run sweep again"):
        write_report(run)


def test_damaged_shard_is_named(noise_run: Run, tmp_path: Path) -> None:
    run = copy_of(noise_run, tmp_path)
    (run.shards.local / "00000.tar").write_bytes(b"short")
    with pytest.raises(ShardError, match=r"00000\.tar, sample '0\d+': cannot be read"):
        write_report(run)


def noise_folder(folder: Path, names: list[str], side: int) -> str:
    """Write four images of each class, and return the beginning of a spec that uses half of them for validation."""
    random = np.random.default_rng(0)
    for name in names:
        (of_class := folder / "data" / name).mkdir(parents=True)
        for number in range(4):
            noise = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
            (of_class / f"{number}.jpg").write_bytes(encode_rgb(noise, "jpg"))
    splits = "{world: 0, train: 0.5, validation: 0.5, test: 0}"
    return f"name: large\nmodel: {{source: a/b}}\ndata: {{source: imagefolder, path: {folder}/data, splits: {splits}}}"
