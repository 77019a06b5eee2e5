"""The report: what it says, that it needs nothing from elsewhere, and that it stays small."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from engine.errors import OutputError, RunMismatch
from engine.evaluation.near_copies import Leak
from engine.profiling import STAGES
from engine.report.write_report import write_report
from engine.report.pictures import spread
from engine.report.class_images import pictures
from engine.run.run import Run
from shards.errors import ShardError
from tests.engine.fakes import FakeGenerator
from tests.engine.reports import HELPED, HURT, Tags, copy_of, make_run, read, write_answer

HOSTILE = "<script>alert(1)</script>"
DIGITS = """
name: digits test
data: {source: digits, train_per_class: 5}
plan: {balance_to: 9}
prompts: {templates: ["a {class} & \\"><script>alert(1)</script>"]}
model: {source: a/model}
output: {samples_per_shard: 16, image: {size: 16}}
sweep: {seeds: 3, alphas: [0, 0.5, 1]}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Digits with noise for synthetic images."""
    return make_run(tmp_path_factory.mktemp("made"), DIGITS)


@pytest.fixture(scope="module")
def swept(made: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same with a sweep in which they helped."""
    run = copy_of(made, tmp_path_factory.mktemp("swept"))
    write_answer(run, HELPED)
    return run


@pytest.fixture(scope="module")
def hurt(swept: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same with a sweep in which they did not help, and a held-out image that was trained on."""
    run = copy_of(swept, tmp_path_factory.mktemp("hurt"))
    write_answer(run, HURT, leaks=[Leak("validation0000007", "train0000001", True, 0.1)])
    return run


def test_verdict_comes_first_with_its_numbers(swept: Run) -> None:
    found = read(swept).text
    sweep = json.loads((swept.store.local / "sweep.json").read_text())
    assert sweep["verdict"].startswith("Synthetic data helped: alpha 0.5")
    shown = [
        sweep["verdict"],
        f"{100 * sweep['lift']['mean']:+.1f} points",
        f"{100 * sweep['test_lift']['low']:+.1f} to",
        f"{100 * sweep['baseline']:.1f}%",
        f"{100 * sweep['oracle']:.1f}%",
        "Accuracy at each synthetic fraction",
        "Classes, before and after",
        "What was made",
        "Rejects and failures",
        "Throughput and cost",
        "Provenance",
    ]
    places = [found.index(shown[0]), *(found.rindex(text) for text in shown[5:])]  # their links come before
    assert places == sorted(places)
    assert all(text in found for text in shown)
    assert f"{sweep['arms'][1]['points'][0]:.1%}" in found  # each seed, in the table under the curve


def test_no_help_is_said_as_prominently(hurt: Run) -> None:
    page = Path(write_report(hurt)).read_text()
    assert 'id="verdict-title">Synthetic data did not help: no fraction beats real images alone' in page
    assert "Best mixture, alpha 0.5" in Tags(page).text


def test_splits_that_are_missing_are_said(tmp_path: Path) -> None:
    splits = "splits: {world: 0, train: 0.5, validation: 0.5, test: 0}"
    run = make_run(tmp_path, DIGITS.replace("train_per_class: 5", f"train_per_class: 5, {splits}"))
    write_answer(run, HELPED)
    found = read(run).text
    assert "The same on a test split not measured" in found
    assert "Oracle: trained on the world split not known" in found


def test_held_out_images_that_are_copies_are_named(swept: Run, hurt: Run) -> None:
    assert "held-out" not in read(swept).text
    found = read(hurt).text
    assert "1 held-out image looks like one that was trained on" in found
    assert "validation0000007 is the mirror image of train0000001" in found


def test_without_a_sweep_the_command_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a folder", DIGITS)
    found = read(run).text
    assert "no sweep was run" in found
    assert f"python -m jobs sweep '{run.store}/spec.yaml' --out '{run.store}'" in found
    assert "alpha*" not in found


def test_commands_versions_and_spec_are_given(swept: Run) -> None:
    found = read(swept).text
    key = re.search(r"python -m jobs replay (\S+) (\d{9})", found)
    assert key is not None
    assert swept.context.plan.slot_of_key(key[2]).label == 0
    for text in (
        f"python -m jobs generate {swept.store.local}/spec.yaml --out {swept.store.local}",
        f"python -m jobs measure {swept.store.local}",
        f"python -m jobs verify {swept.store.local}",
        swept.context.plan.digest,
        "fake",
        "apache-2.0",
        "python\xa03.",
        f"validation {json.loads(swept.store.read('sweep.json'))['real']['validation']}",
        "samples_per_shard: 16",
    ):
        assert " ".join(text.split()) in found


def test_class_counts_before_and_after(swept: Run) -> None:
    found = read(swept)
    assert found.text.count("5 + 4") == 10
    assert "all 10 classes 50 40 40 0 90" in found.text
    assert len(found.images("synthetic")) == 40 + 18  # and those beside their nearest real ones
    assert len(found.images("real")) == 40 + 200  # and those of the gallery


def test_text_of_others_is_escaped(swept: Run, tmp_path: Path) -> None:
    classes = json.dumps([HOSTILE, '"><img src=x onerror=alert(1)>', "ok"])
    run = make_run(tmp_path, f"name: x\nclasses: {classes}\nplan: {{per_class: 3}}\nmodel: {{source: a/b}}\n")
    for one in (run, swept):
        found = read(one)
        assert HOSTILE in found.text
        assert "script" not in {tag for tag, _ in found.tags}
        assert not [tag for tag, attributes in found.tags if any(name.startswith("on") for name in attributes)]
        assert all("data:" in (found["src"] or "") for tag, found in found.tags if tag == "img")


def test_nothing_is_fetched_from_elsewhere(swept: Run) -> None:
    page = Path(write_report(swept)).read_text()
    for tag, attributes in Tags(page).tags:
        for name in ("src", "href", "srcset", "xlink:href", "action", "data", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    assert not re.search(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def test_the_same_run_gives_the_same_page(swept: Run) -> None:
    first = Path(write_report(swept)).read_bytes()
    assert Path(write_report(swept)).read_bytes() == first


def test_rejects_have_reasons(tmp_path: Path) -> None:
    text = "name: x\nclasses: [good, bad]\nplan: {per_class: 6, max_attempts: 2}\nmodel: {source: a/b}\n"
    run = make_run(tmp_path, text, FakeGenerator(8, 16, blank=lambda request: request.label == 1))
    found = read(run).text
    assert "12 of 18 images (66.7%) were turned down" in found
    assert "6 slots stayed empty" in found
    assert "blank, blank" in found
    assert "bad 0 6 0 6 0" in found  # real, planned, kept, failed, after


def test_no_reject_is_said_plainly(swept: Run) -> None:
    assert "None: all 40 images passed (filter: blank)." in read(swept).text


def test_throughput_counts_units_and_images(swept: Run) -> None:
    found = read(swept).text
    assert "3 of 3" in found
    assert "Device none all units" in found


def test_a_stopped_run_says_how_far_it_came(tmp_path: Path) -> None:
    run = make_run(tmp_path, DIGITS, units=1)
    found = read(run)
    assert "1 of 3 units are finished" in found.text
    assert "planned, not made yet" in found.text
    assert len(found.images("synthetic")) == 16


def test_a_run_with_nothing_made_yet(tmp_path: Path) -> None:
    found = read(make_run(tmp_path, DIGITS, units=0)).text
    for text in ("0 of 3 units are finished", "No image yet.", "Nothing was made yet.", "no image was made yet"):
        assert text in found


def test_a_large_run_has_a_small_page(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(30)]
    prompt = "noise that no codec can make small, " * 40
    text = (
        f"name: large\nclasses: {json.dumps(names)}\nplan: {{total: 434, weights: {{class 3: 2.0}}}}\n"
        f"prompts: {{templates: ['{prompt}']}}\nmodel: {{source: a/b}}\noutput: {{samples_per_shard: 70}}\n"
    )
    run = make_run(tmp_path, text, FakeGenerator(8, 128))
    path = Path(write_report(run))
    found = Tags(path.read_text())
    assert path.stat().st_size < 5e6
    assert len(found.images("synthetic")) == 20 * 12
    assert "Of 30 classes, 20 are shown" in found.text
    assert "class 29 0 14 14 0 14" in found.text


def test_of_many_classes_the_largest_are_drawn(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(600)]
    plan = "{per_class: 1, overrides: {c599: 2}}"
    text = f"name: x\nclasses: {json.dumps(names)}\nplan: {plan}\nmodel: {{source: a/b}}\n"
    found = read(make_run(tmp_path, text, units=0)).text
    assert "Of 600 classes, the 60 largest; the numbers below are of the 500 largest." in found
    assert "c599 0 2 0 0 0" in found


def test_of_many_shards_few_are_read(tmp_path: Path) -> None:
    text = "name: x\nclasses: [a]\nplan: {per_class: 40}\nmodel: {source: a/b}\noutput: {samples_per_shard: 1}\n"
    run = make_run(tmp_path, text)
    names = sorted(run.stats())
    for name in set(names) - set(spread(names, 4)):
        (run.shards.local / f"{name}.parquet").unlink()
    found = pictures(run.shards, {0: names}, 4)
    assert [picture.key[:5] for picture in found[0]] == spread(names, 4)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path, DIGITS, units=0)
    (run.store.local / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"report\.html: cannot be written: Is a directory"):
        write_report(run)


def test_damage_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path, DIGITS)
    (run.store.local / "sweep.json").write_text("{}")
    with pytest.raises(RunMismatch, match=r"sweep\.json: damaged .*run sweep again"):
        write_report(run)
    (run.store.local / "sweep.json").unlink()
    (run.shards.local / "00000.tar").write_bytes(b"short")
    with pytest.raises(ShardError, match=r"00000\.tar, sample '0\d+': cannot be read"):
        write_report(run)


@pytest.mark.parametrize(("length", "count"), [(0, 3), (2, 3), (3, 3), (10, 3), (1000, 12)])
def test_spread_is_even_and_in_order(length: int, count: int) -> None:
    found = spread(range(length), count)
    assert len(found) == min(length, count)
    assert found == sorted(set(found))
    gaps = np.diff(found)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


def test_it_says_where_the_time_went(made: Run, tmp_path: Path) -> None:
    run = copy_of(made, tmp_path)
    for number, (name, one) in enumerate(run.stats().items()):
        took = {"denoise": 30.0, "copy": 5.0, "wait": 15.0, "encode": 70.0}
        seconds = dict.fromkeys(STAGES, 0.0) | (took if number else {})
        run.shards.replace(f"{name}_stats.json", json.dumps(one | {"seconds": seconds}).encode())
    assert number == 2
    told = read(run).text.partition("Where the time went")[2].partition("Provenance")[0]
    assert "Of the 1 min 40 s that the device was needed, it was at work for 70.0% and waited for 30.0%" in told
    for line in ("denoising: 1 min 0 s, 60.0%", "copying to the host: 10.0 s, 10.0%", "waiting: 30.0 s, 30.0%"):
        assert line in told
    assert "filters and image encoding: 2 min 20 s, 140.0%" in told
    assert "reading prompts" not in told
    page = run.store.read("report.html").decode()
    widths = dict(re.findall(r'<i class="(\w+)" style="width:([\d.]+)%"', page.partition('"bar stages"')[2]))
    assert widths == {"denoise": "60.00", "copy": "10.00", "wait": "30.00", "encode": "100.00"}
