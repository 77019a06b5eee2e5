"""The report: what it says, that it needs nothing from elsewhere, and how a real browser shows it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import OutputError, RunMismatch
from engine.intervals import answer
from engine.operations.estimate import image_shape
from engine.realshards import write_real_shards
from engine.report import write_report
from engine.report.sheets import pictures, spread
from engine.run import Run, begin_run, plan_run
from engine.runner import run_unit
from engine.sources import load_splits
from engine.specfile import load_spec
from shards.errors import ShardError
from tests.browser import CHROMIUM, MISSING, Page, browser
from tests.engine.fakes import FakeGenerator

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


CUT_LABELS = """svg => {
  const a = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter(text => {
    const b = text.getBoundingClientRect();
    return b.left < a.left - 1 || b.right > a.right + 1 || b.top < a.top - 1 || b.bottom > a.bottom + 1;
  }).map(text => text.textContent);
}"""


def make_run(folder: Path, text: str, generator: FakeGenerator | None = None, units: int | None = None) -> Run:
    """A run with its first `units` units made; all of them if none."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "given.yaml"
    path.write_text(text)
    run = begin_run(plan_run(load_spec(path)), folder / "run")
    for number in run.pending()[:units]:
        run_unit(run.recipe, number, generator or FakeGenerator(8, 16), run.shards)
    return run


def write_answer(run: Run, accuracies: dict[float | None, float], *, test: bool = True) -> None:
    """A sweep.json as a sweep writes it, with these accuracies; None is the oracle."""
    random = np.random.default_rng(1)
    correct = {alpha: random.random((3, 200)) < accuracy for alpha, accuracy in accuracies.items()}
    points = [
        {"alpha": alpha, "seed": seed, "accuracy": float(found[seed].mean())}
        for alpha, found in correct.items()
        for seed in range(3)
    ]
    content = {
        **answer(correct, correct if test else None).as_json(),
        "points": [point for point in points if point["alpha"] is not None],
        "oracle_points": [point for point in points if point["alpha"] is None],
        "classes": run.recipe.plan.classes,
        "settings": run.recipe.spec.sweep.model_dump(mode="json"),
        "real": {"world": 898, "train": 50, "validation": 200, "test": 270 if test else 0},
        "fingerprint": "",
    }
    (run.store.local / "sweep.json").write_text(json.dumps(content))


HELPED: dict[float | None, float] = {0.0: 0.7, 0.5: 0.85, 1.0: 0.8, None: 0.9}
HURT: dict[float | None, float] = {0.0: 0.8, 0.5: 0.6, 1.0: 0.5, None: 0.9}


class Tags(HTMLParser):
    """Every tag with its attributes, and all text as a reader sees it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._text: list[str] = []
        self._within = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag
        self._text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._within = ""
        self._text.append(" ")

    def handle_data(self, data: str) -> None:
        if self._within not in ("style", "title"):
            self._text.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self._text).split())

    def images(self, kind: str) -> list[str]:
        """Alternative texts of the pictures of this kind, real or synthetic."""
        return [alt for tag, found in self.tags if tag == "img" and (alt := found["alt"] or "").startswith(kind)]


def read(run: Run) -> Tags:
    return Tags(Path(write_report(run)).read_text())


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Digits with noise for synthetic images, real shards beside them, and a sweep in which they helped."""
    run = make_run(tmp_path_factory.mktemp("swept"), DIGITS)
    spec = run.recipe.spec
    assert spec.data is not None
    write_real_shards(load_splits(spec.data), run.store / "real", spec.output.image, image_shape(run))
    write_answer(run, HELPED)
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
        "Throughput",
        "Provenance",
    ]
    places = [found.index(shown[0]), *(found.rindex(text) for text in shown[5:])]  # their links come before
    assert places == sorted(places)
    assert all(text in found for text in shown)
    assert f"{sweep['points'][0]['accuracy']:.1%}" in found  # each seed, in the table under the curve


def test_no_help_is_said_as_prominently(swept: Run, tmp_path: Path) -> None:
    run = make_run(tmp_path, DIGITS)
    write_answer(run, HURT, test=False)
    page = Path(write_report(run)).read_text()
    assert 'id="verdict-title">Synthetic data did not help: no fraction beats real images alone' in page
    assert "Best mixture, alpha 0.5" in Tags(page).text


def test_a_missing_test_split_is_said(swept: Run, tmp_path: Path) -> None:
    run = make_run(tmp_path, DIGITS)
    write_answer(run, HELPED, test=False)
    assert "not measured" in read(run).text


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
    assert swept.recipe.plan.slot_of_key(key[2]).label == 0
    for text in (
        f"python -m jobs generate {swept.store.local}/spec.yaml --out {swept.store.local}",
        f"python -m jobs verify {swept.store.local}",
        swept.recipe.plan.digest,
        "fake",
        "apache-2.0",
        "python\xa03.",
        "validation 200",
        "samples_per_shard: 16",
    ):
        assert " ".join(text.split()) in found


def test_class_counts_before_and_after(swept: Run) -> None:
    found = read(swept)
    assert found.text.count("5 + 4") == 10
    assert "all 10 classes 50 40 40 0 90" in found.text
    assert len(found.images("synthetic")) == 40
    assert len(found.images("real")) == 40


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


@pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
def test_a_browser_shows_it(swept: Run) -> None:
    path = Path(write_report(swept))
    backgrounds = []
    with browser() as page:
        for width, dark in ((1100, False), (1100, True), (360, False)):
            page.show(width, dark=dark)
            page.open(path)
            _check_layout(page, width)
            backgrounds.append(_check_picture(page.screenshot()))
        assert page.requested == []
    assert backgrounds[0] > 200 > 60 > backgrounds[1]  # light by day, dark by night


def _check_layout(page: Page, width: int) -> None:
    assert page.evaluate("[...document.querySelectorAll('main > section')].map(s => s.id)") == [
        "verdict", "curve", "balance", "images", "rejects", "throughput", "provenance",
    ]  # fmt: skip
    assert page.evaluate("document.images.length") == 80
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0 && image.alt)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    curves = "[...document.querySelectorAll('.chart svg')].filter(svg => svg.getBoundingClientRect().width > 0)"
    assert page.evaluate(f"{curves}.length") == 1
    assert page.evaluate(f"{curves}.flatMap({CUT_LABELS})") == []
    assert page.evaluate("document.querySelector('.verdict').getBoundingClientRect().bottom < innerHeight")


def _check_picture(png: bytes) -> float:
    """The screenshot is not blank; gives the brightness of the page's margin."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert pixels.std() > 5
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    return float(pixels[:, :4].mean())
