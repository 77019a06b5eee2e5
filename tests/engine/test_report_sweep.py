"""The report of a run that was swept and measured: what else could be done, confusions, predictions, copies, cost."""

import json
import re
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.splits import load_splits
from engine.errors import RunMismatch
from engine.evaluation.intervals import Interval
from engine.generators.generator import Request
from engine.report.write_report import write_report
from engine.report.axis import axis
from engine.report.confusion import confusions
from engine.report.findings import Arm, Findings, NearCopies, read_findings
from engine.report.gallery import Prediction, choose
from engine.report.gain_scatter import scatter
from engine.run.run import Run
from shards.codec import Pixels, encode_rgb, fit_rgb
from shards.storage.manifest import read_rows
from tests.engine.fakes import FakeGenerator
from tests.engine.reports import HELPED, HURT, Tags, copy_of, make_run, measure, read, write_answer

DIGITS = """
name: digits test
data: {source: digits, train_per_class: 5}
plan: {balance_to: 17}
prompts: {mix: [{name: noise, templates: ["a {class}"]}, {name: copied, templates: ["the digit {class}"]}]}
model: {source: a/model}
output: {samples_per_shard: 64, image: {size: 16}}
sweep:
  seeds: 3
  alphas: [0, 0.5, 1]
  arms: {oversampling: {balance: oversample}, class_weights: {balance: class_weights}, all_images: {alpha: null}}
budget: {price_per_gpu_hour: 3600}
"""


class Copier(FakeGenerator):
    """noise: noise; copied: real train images of the class, paler."""

    def __init__(self, run: Run) -> None:
        super().__init__(batch_size=8, size=16)
        assert run.context.spec.data is not None
        train = load_splits(run.context.spec.data).train
        self._train = [[fit_rgb(one.pixels(), 16, 16) for one in train if one.label == n] for n in range(10)]

    def _draw(self, request: Request) -> Pixels:
        if request.prompt.strategy == "noise":
            return super()._draw(request)
        images = self._train[request.label]
        return (images[request.seed % len(images)] * 0.8 + 25).astype(np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Noise, and copies of train images."""
    folder = tmp_path_factory.mktemp("made")
    return make_run(folder, DIGITS, Copier(make_run(folder, DIGITS, units=0)))


@pytest.fixture(scope="module")
def swept(made: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same with a sweep in which they helped."""
    run = copy_of(made, tmp_path_factory.mktemp("swept"))
    write_answer(run, HELPED)
    return run


@pytest.fixture(scope="module")
def measured(swept: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same with measures."""
    run = copy_of(swept, tmp_path_factory.mktemp("measured"))
    measure(run, tmp_path_factory.mktemp("encoder"))
    return run


def findings_of(run: Run) -> Findings:
    found = read_findings(run.store)
    assert found is not None
    return found


def test_copies_are_found_without_measures(swept: Run) -> None:
    found = read(swept)
    assert "Of 120 synthetic images, spread over the run, those that are most like a real one" in found.text
    assert "60 are copies; python -m jobs measure looks at all" in found.text
    assert len(found.of_class("pair")) == len(found.of_class("copy")) == 18
    assert "distance" not in found.sections
    labels = {row["key"]: row["label"] for row in rows_of(swept, "train")}
    articles = re.findall(r'<article class="pair.*?</article>', page_of(swept), re.DOTALL)
    pairs = [re.findall(r'title="(?:[^"]*, )?(\w+)"', one) for one in articles]
    assert len(pairs) == 18
    assert all(swept.context.plan.slot_of_key(ours).label == labels[theirs] for ours, theirs in pairs)


def test_a_class_is_shown_by_prompt_strategy(swept: Run) -> None:
    page = page_of(swept)
    sheets = re.findall(r'<article class="sheet.*?</article>', page, re.DOTALL)
    assert len(sheets) == 10
    for sheet in sheets:
        copied, noise = re.split(r"<h4>(?:copied|noise)</h4>", sheet)[1:]
        assert copied.count("<figcaption>the digit") == noise.count("<figcaption>a ") == 6


def test_copies_are_shown_beside_their_originals_as_measured(measured: Run) -> None:
    found = read(measured)
    told = json.loads(measured.store.read("measures.json"))
    assert told["copies"]["found"] == 60
    assert "60 are copies." in found.text
    assert len(found.images("nearest real image by pixels")) == len(found.of_class("pair")) == 18
    shown = {one["title"] for one in found.of_class("tiny") if (one["alt"] or "").startswith("nearest real image")}
    assert shown <= {one["real"] for one in told["copies"]["images"]}
    assert found.images("nearest real train image by features")


def test_distances_of_each_strategy_are_told_with_the_encoder(measured: Run) -> None:
    found = read(measured)
    told = json.loads(measured.store.read("measures.json"))
    assert told["encoder"]["told"] in found.text
    for row in told["rows"]:
        of_all = row["class_name"] == "all classes"
        name = row["strategy"] if of_all else f"{row['class_name']} {row['strategy']}"
        fid = "" if row["fid"] is None else f"{row['fid']:.1f} "
        kid = f"{row['kid']['mean']:.3f} ± {row['kid']['standard_error']:.3f}"
        assert f"{name} {row['compared']} {fid}{kid} {row['manifold']['precision']:.2f}" in found.text


def test_gains_of_classes_stand_against_their_distances(measured: Run) -> None:
    found, findings = read(measured), findings_of(measured)
    gains = np.subtract(*(np.array(findings.arms[alpha].recall, float) for alpha in (0.5, 0.0)))
    told = json.loads(measured.store.read("measures.json"))
    of_class = {name: [row for row in told["rows"] if row["class_name"] == name] for name in findings.classes}
    kids = [np.mean([row["kid"]["mean"] for row in rows[:2]]) for rows in of_class.values()]  # the third are real
    (plot,) = found.of_class("plot")
    for name, gain, kid in zip(findings.classes, gains, kids, strict=True):
        assert f"{name} {100 * gain:+.1f} at {kid:.3f};" in (plot["aria-label"] or "")
    assert len(found.of_class("dot")) == 10


def test_alternatives_stand_between_baseline_and_oracle(swept: Run) -> None:
    found = read(swept)
    sweep = json.loads(swept.store.read("sweep.json"))
    rows = re.findall(r"(\S+) \d+\.\d% \d+\.\d% to \d+\.\d% \d+\.\d% [+-]", found.text)
    assert rows == ["oversample", "class_weights", "null", "0.5", "oracle"]
    for arm in (*sweep["alternatives"], sweep["oracle_arm"]):
        assert f"{arm['mean']:.1%} {arm['low']:.1%} to {arm['high']:.1%} {arm['macro_f1']['mean']:.1%}" in found.text
        assert f"{100 * arm['lift']['mean']:+.1f} {100 * arm['lift']['low']:+.1f} to" in found.text
    assert "class weights balance class_weights" in found.text  # its name, and what sets it apart
    drawn = [one for one in found.of_class("rungs") if one]
    assert "real images alone" in (drawn[0]["aria-label"] or "")


def test_where_nothing_else_was_tried_and_nothing_helped_that_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path, re.sub(r"  arms: .*\n", "", DIGITS))
    write_answer(run, HURT)
    found = read(run).text
    assert "sweep.arms of the spec adds some" in found
    assert "synthetic images, alpha = 0.5" in found
    assert "seed 0 say of them: real images alone , then alpha 0.5 , each with its confidence" in found


def test_confusions_are_shares_of_the_true_class(swept: Run) -> None:
    found = confusions(findings_of(swept))
    assert [one.title for one in found] == [
        "alpha 0", "alpha* 0.5", "alpha 1", "oversampling", "class weights", "all images", "oracle",
    ]  # fmt: skip
    for one in found:
        assert one.cells is not None
        counts = np.array(one.arm.confusion)
        assert np.allclose([row or [0] * 10 for row in one.cells], counts / counts.sum(axis=1, keepdims=True))
        assert one.pairs[0].count == (counts - np.diag(np.diag(counts))).max()
    page = read(swept)
    assert len(page.of_class("matrix")) == 7
    assert len(page.of_class("printed")) == 2


def test_the_gallery_counts_honestly(swept: Run) -> None:
    found = read(swept)
    trial = json.loads(swept.store.read("sweep/alpha-0.5-0.json"))["predictions"]["validation"]
    mistakes, shots, wrong = trial["quality"].count(0), found.of_class("shot"), found.of_class("wrong")
    counted = re.search(r"Shown are (\d+) of (\d+) images.*?: (\d+) of the (\d+) mistakes of alpha\* 0.5", found.text)
    assert counted is not None
    assert [int(one) for one in counted.groups()] == [len(shots), len(trial["quality"]), len(wrong), mistakes]
    of_class = re.findall(r"(\w+): (\d+) of (\d+), mistakes (\d+) of (\d+)", found.text)
    assert [sum(int(one[place]) for one in of_class) for place in (1, 2, 3, 4)] == [
        len(shots), len(trial["quality"]), len(wrong), mistakes,
    ]  # fmt: skip
    assert len(shots) == 200


def test_the_gallery_tells_truth_prediction_and_confidence_of_both(swept: Run) -> None:
    page = page_of(swept)
    classes = swept.context.plan.classes
    stored = {row["key"]: n for n, row in enumerate(rows_of(swept))}
    told = [
        json.loads(swept.store.read(f"sweep/alpha-{alpha}-0.json"))["predictions"]["validation"] for alpha in (0.5, 0)
    ]
    shots = re.findall(r'<figure class="shot( wrong)?" data-class="(\d+)">.*?</figure>', page, re.DOTALL)
    texts = [one.group() for one in re.finditer(r'<figure class="shot.*?</figure>', page, re.DOTALL)]
    for (wrong, label), text in zip(shots, texts, strict=True):
        key = re.search(r'title="(validation\d+)"', text)
        assert key is not None
        place = stored[key[1]]
        assert rows_of(swept)[place]["label"] == int(label)
        for one in told:
            assert f"<em>{classes[one['predicted'][place]]}</em> {100 * one['confidence'][place]:.0f}%</span>" in text
        assert bool(wrong) == (told[0]["quality"][place] == 0)


def page_of(run: Run) -> str:
    return Path(write_report(run)).read_text()


def rows_of(run: Run, split: str = "validation") -> list[dict[str, object]]:

    return read_rows(run.store / "real" / split, ["key", "label"])


def test_of_masks_the_iou_is_told(swept: Run, tmp_path: Path) -> None:
    run = copy_of(swept, tmp_path)
    write_answer(run, HELPED, masks=True)
    found = read(run).text
    assert "Mean IoU at each synthetic fraction" in found
    assert re.search(r"three IoU \d+% IoU \d+%", found)
    assert "macro F1" not in found


def test_what_is_not_there_is_left_out(made: Run, swept: Run, tmp_path: Path) -> None:
    sections = ["verdict", "balance", "images", "rejects", "strategies", "throughput", "stages", "provenance"]
    assert read(made).sections == sections
    run = copy_of(swept, tmp_path)
    shutil.rmtree(run.store.local / "sweep")
    assert not {"gallery", "distance"} & set(read(run).sections)
    shutil.rmtree(run.store.local / "real")
    assert "neighbours" not in read(run).sections


@pytest.mark.parametrize("text", ["{", "{}", '{"predictions": {"validation": {"quality": [1], "predicted": [99]}}}'])
def test_damaged_predictions_are_named(swept: Run, tmp_path: Path, text: str) -> None:
    run = copy_of(swept, tmp_path)
    (run.store / "sweep").replace("alpha-0.5-0.json", text.encode())
    with pytest.raises(RunMismatch, match=r"alpha-0\.5-0\.json: damaged .*remove it and run sweep again"):
        write_report(run)


def test_damaged_measures_are_named(made: Run, tmp_path: Path) -> None:
    run = copy_of(made, tmp_path)
    run.store.replace("measures.json", b'{"encoder": {}}')
    with pytest.raises(RunMismatch, match=r"measures\.json: damaged .*run measure again"):
        write_report(run)


def test_the_cost_is_told_in_hours_and_dollars(swept: Run, tmp_path: Path) -> None:
    run = copy_of(swept, tmp_path)
    run.store.replace("cost.json", b'{"actor_seconds": 7200, "actor_hours": 2, "dollars": 7200, "unpriced_hours": 0}')
    found = read(run).text
    assert "Actor hours 2.00" in found
    assert "Cost $7200.00 at $3600 an hour" in found


def test_names_of_others_are_escaped_everywhere(tmp_path: Path) -> None:
    names = ["<script>alert(1)<", '"><img src=x onerror=alert(1)>', "'>{{ 7*7 }}"]
    run = make_run(tmp_path, noise_folder(tmp_path, names, 16) + "\nplan: {per_class: 7}\n")
    write_answer(run, {})
    found = read(run)
    assert {"confusion", "gallery", "neighbours"} < set(found.sections)
    assert all(found.text.count(name) > 5 for name in names)
    assert "script" not in {tag for tag, _ in found.tags}
    assert not [tag for tag, attributes in found.tags if any(name.startswith("on") for name in attributes)]
    assert all("data:" in (found["src"] or "") for tag, found in found.tags if tag == "img")


def test_a_hundred_classes_of_noise_stay_below_five_megabytes(tmp_path: Path) -> None:
    names = {f"class {number:03d}": 12.0 for number in range(20)}
    alphas = [number / 25 for number in range(26)]
    more = f"""
plan: {{total: 340, weights: {json.dumps(names)}}}
prompts: {{templates: ["{"words & <more> " * 40}"]}}
sweep: {{seeds: 1, alphas: {alphas}}}
output: {{samples_per_shard: 170, image: {{format: jpg, size: 96}}}}
"""
    run = make_run(
        tmp_path,
        noise_folder(tmp_path, [f"class {number:03d}" for number in range(100)], 96) + more,
        FakeGenerator(8, 96),
    )
    write_answer(run, {f"alpha-{alpha:g}": 0.5 + alpha / 4 for alpha in alphas})
    path = Path(write_report(run))
    found = Tags(path.read_text())
    assert path.stat().st_size < 5e6
    assert len(found.of_class("shot")) == 200
    assert len(found.of_class("matrix")) == 24
    assert len(found.of_class("sheet")) == 20
    assert len(found.of_class("pair")) == 18
    pair = confusions(findings_of(run))[0].pairs[0]  # of so many classes, no matrix is drawn
    assert f"{pair.true} {pair.predicted} {pair.count} {pair.share:.1%}" in found.text
    assert not found.of_class("heat")


def noise_folder(folder: Path, names: list[str], side: int) -> str:
    """Four images of each class, two of them for validation; gives the beginning of a spec."""
    random = np.random.default_rng(0)
    for name in names:
        (place := folder / "data" / name).mkdir(parents=True)
        for number in range(4):
            noise = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
            (place / f"{number}.jpg").write_bytes(encode_rgb(noise, "jpg"))
    splits = "{world: 0, train: 0.5, validation: 0.5, test: 0}"
    return f"name: large\nmodel: {{source: a/b}}\ndata: {{source: imagefolder, path: {folder}/data, splits: {splits}}}"


@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=60),
    most=st.integers(1, 40),
    seed=st.integers(0, 9),
    masks=st.booleans(),
)
def test_the_gallery_is_fair(labels: list[int], most: int, seed: int, masks: bool) -> None:
    random = np.random.default_rng(seed)
    sure, quality = random.random(len(labels)).tolist(), random.random(len(labels)).tolist()
    said = [Prediction("x", one, float(share < 0.6)) for one, share in zip(sure, quality, strict=True)]
    if masks:
        said = [Prediction(None, None, iou) for iou in quality]
    label = np.array(labels)
    chosen = choose(label, said, most)
    assert chosen == choose(label, said, most)
    assert len(set(chosen)) == len(chosen) == min(most, len(labels))
    counts = {one: sum(label[row] == one for row in chosen) for one in set(labels)}
    short = [counts[one] for one in counts if counts[one] < labels.count(one)]
    assert not short or max(counts.values()) - min(short) <= 1
    for one in counts:
        wrong = [row for row in chosen if label[row] == one and not said[row].right]
        all_wrong = [row for row in range(len(labels)) if label[row] == one and not said[row].right]
        assert len(wrong) == min(counts[one], len(all_wrong))
        worst = sorted(all_wrong, key=lambda row: said[row].quality - (said[row].confidence or 0))
        assert sorted(wrong, key=chosen.index) == worst[: len(wrong)]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.integers(2, 8))
def test_an_axis_holds_its_values_and_ticks(values: list[float], ticks: int) -> None:
    found = axis(values, ticks)
    assert all(0 < found.at(value) < 100 for value in values)
    assert all(0 <= found.at(tick) <= 100 for tick in found.ticks)
    assert list(found.ticks) == sorted(set(found.ticks))
    assert 1 <= len(found.ticks) <= 2 * ticks + 1


@given(st.lists(st.tuples(st.text(min_size=1, max_size=12), st.floats(0, 2), st.floats(0, 1)), min_size=2, max_size=20))
def test_names_in_the_scatter_touch_nothing(classes: list[tuple[str, float, float]]) -> None:
    kids = {name: kid for name, kid, _ in classes}
    gains = {name: gain for name, _, gain in classes}
    found = scatter(two_arms(gains), kids)
    if len(gains) < 2:
        assert found is None
        return
    assert found is not None
    boxes = []
    for mark in found.marks:
        x, y = 205 * found.across.at(mark.kid) / 100, 320 * (100 - found.up.at(mark.gain)) / 100
        width = 7 * len(mark.name)
        left = {"right": x + 7, "left": x - 7 - width, "above": x - width / 2, "below": x - width / 2}
        top = {"right": y - 7.5, "left": y - 7.5, "above": y - 22, "below": y + 7}
        if mark.side:
            boxes.append((left[mark.side], top[mark.side], left[mark.side] + width, top[mark.side] + 15))
    assert all(a >= 0 and c <= 205 for a, _, c, _ in boxes)
    for one, other in combinations(boxes, 2):
        apart = one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]
        assert apart


def two_arms(gains: dict[str, float]) -> Findings:
    """A baseline that finds nothing, and alpha 1 that finds so much of each class."""
    arms = {}
    for alpha, recall in ((0.0, [0.0] * len(gains)), (1.0, list(gains.values()))):
        one = Interval(alpha, alpha, alpha)
        arms[alpha] = Arm(f"alpha-{alpha:g}", one, one, (alpha,), None, tuple(recall), (), {})
    lift = Interval(1, 1, 1)
    nothing = NearCopies(0, ())
    return Findings("", "accuracy", arms, (), None, 1.0, (1, 1), lift, None, None, nothing, tuple(gains), {}, {})
