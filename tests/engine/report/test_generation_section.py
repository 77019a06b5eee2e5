"""Rejects, throughput, cost, stages and provenance on the page."""

import json
import re
from pathlib import Path

from engine.evaluation.sweep_result import SweepResult
from engine.profiling import STAGES
from engine.run.run import Run
from tests.engine.fakes import FakeGenerator
from tests.engine.report.page_reader import read_page
from tests.engine.report.report_runs import NOISE, copy_of, make_run


def test_rejects_have_reasons(tmp_path: Path) -> None:
    text = "name: x\nclasses: [good, bad]\nplan: {per_class: 6, max_attempts: 2}\nmodel: {source: a/b}\n"
    run = make_run(tmp_path, text, FakeGenerator(8, 16, blank=lambda request: request.label == 1))
    page = read_page(run)
    assert "12 of 18 images (66.7%) were rejected" in page.text
    assert "6 slots failed" in page.text
    assert "blank, blank" in page.text
    assert "bad 0 6 0 6 0" in page.text  # real, planned, kept, failed, real and kept


def test_no_reject_is_stated_plainly(helped: Run) -> None:
    assert "None: all 40 images passed (filter: blank)." in read_page(helped).text


def test_units_and_devices_are_counted(helped: Run) -> None:
    text = read_page(helped).text
    assert "3 of 3" in text
    assert "Device none all units" in text


def test_stopped_run_shows_what_is_finished(tmp_path: Path) -> None:
    page = read_page(make_run(tmp_path, NOISE, units=1))
    assert "1 of 3 units are finished" in page.text
    assert "planned, not made yet" in page.text
    assert len(page.images("synthetic")) == 16


def test_run_without_images_has_a_page(tmp_path: Path) -> None:
    page = read_page(make_run(tmp_path, NOISE, units=0))
    for text in ("0 of 3 units are finished", "No image yet.", "Nothing was made yet.", "no image was made yet"):
        assert text in page.text


def test_cost_is_shown_in_hours_and_dollars(swept: Run, tmp_path: Path) -> None:
    run = copy_of(swept, tmp_path)
    run.store.replace("cost.json", b'{"actor_seconds": 7200, "actor_hours": 2, "dollars": 7200, "unpriced_hours": 0}')
    text = read_page(run).text
    assert "Actor hours 2.00" in text
    assert "Cost $7200.00 at $3600 an hour" in text


def test_time_is_shown_by_stage(noise_run: Run, tmp_path: Path) -> None:
    run = copy_of(noise_run, tmp_path)
    for number, (name, stats) in enumerate(run.stats().items()):
        of_stage = {"denoise": 30.0, "copy": 5.0, "wait": 15.0, "encode": 70.0}
        seconds = dict.fromkeys(STAGES, 0.0) | (of_stage if number else {})
        run.shards.replace(f"{name}_stats.json", json.dumps(stats | {"seconds": seconds}).encode())
    assert number == 2
    page = read_page(run)
    text = page.text.partition("Time by stage")[2].partition("Provenance")[0]
    assert "Units had the device for 1 min 40 s: it worked for 70.0% of the time and was idle for 30.0%" in text
    for line in ("denoising: 1 min 0 s, 60.0%", "copying to the host: 10.0 s, 10.0%", "idle: 30.0 s, 30.0%"):
        assert line in text
    assert "filters and image encoding: 2 min 20 s, 140.0%" in text
    assert "encoding prompts" not in text
    widths = dict(re.findall(r'<i class="(\w+)" style="width:([\d.]+)%"', page.html.partition('"bar stages"')[2]))
    assert widths == {"denoise": "60.00", "copy": "10.00", "wait": "30.00", "encode": "100.00"}


def test_provenance_has_commands_versions_and_spec(helped: Run) -> None:
    text, folder, plan = read_page(helped).text, helped.store.local, helped.context.plan
    sweep = SweepResult.read(helped.store)
    key = re.search(r"python -m jobs replay (\S+) (\d{9})", text)
    assert sweep is not None
    assert key is not None
    assert plan.slot_of_key(key[2]).label == 0
    for expected in (
        f"python -m jobs generate {folder}/spec.yaml --out {folder}",
        f"python -m jobs measure {folder}",
        f"python -m jobs verify {folder}",
        plan.digest,
        "fake",
        "apache-2.0",
        "python 3.",
        f"validation {sweep.real_images['validation']}",
        "samples_per_shard: 16",
    ):
        assert expected in text
