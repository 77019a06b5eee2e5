"""The gallery of predictions."""

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluation.sweep_result import TrialPredictions, TrialResult
from engine.report.gallery import ImagePrediction, choose_images
from engine.run.run import Run
from shards.storage.manifest import read_rows
from tests.engine.report.page_reader import read_page


def validation_predictions(run: Run, arm: str) -> TrialPredictions:
    trial = TrialResult.read(run.store / "sweep", f"{arm}-0.json")
    assert trial is not None
    return trial.predictions["validation"]


def test_counts_agree_with_the_shown_images(swept: Run) -> None:
    page, predictions = read_page(swept), validation_predictions(swept, "alpha-0.5")
    shown, wrong = len(page.of_class("shot")), len(page.of_class("wrong"))
    images, mistakes = len(predictions.quality), predictions.quality.count(0)
    sentence = re.search(r"Shown are (\d+) of (\d+) images.*?: (\d+) of the (\d+) mistakes of alpha\* 0.5", page.text)
    assert sentence is not None
    assert [int(count) for count in sentence.groups()] == [shown, images, wrong, mistakes]
    of_classes = re.findall(r"\w+: (\d+) of (\d+), mistakes (\d+) of (\d+)", page.text)
    assert np.array(of_classes).astype(int).sum(axis=0).tolist() == [shown, images, wrong, mistakes]
    assert shown == 200


def test_images_have_truth_and_both_predictions(swept: Run) -> None:
    classes = swept.context.plan.classes
    rows = read_rows(swept.store / "real" / "validation", ["key", "label"])
    place_of = {row["key"]: place for place, row in enumerate(rows)}
    arms = [validation_predictions(swept, arm) for arm in ("alpha-0.5", "alpha-0")]
    pattern = r'<figure class="shot( wrong)?" data-class="(\d+)">(.*?)</figure>'
    shots = re.findall(pattern, read_page(swept).html, re.DOTALL)
    assert len(shots) == 200
    for wrong, label, text in shots:
        key = re.search(r'title="(validation\d+)"', text)
        assert key is not None
        place = place_of[key[1]]
        assert rows[place]["label"] == int(label)
        for of_arm in arms:
            assert of_arm.predicted is not None
            assert of_arm.confidence is not None
            name = classes[of_arm.predicted[place]]
            assert f"<em>{name}</em> {100 * of_arm.confidence[place]:.0f}%</span>" in text
        assert bool(wrong) == (arms[0].quality[place] == 0)


@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=60),
    most=st.integers(1, 40),
    seed=st.integers(0, 9),
    masks=st.booleans(),
)
def test_choice_is_fair_to_classes_and_puts_mistakes_first(
    labels: list[int], most: int, seed: int, masks: bool
) -> None:
    random = np.random.default_rng(seed)
    confidence, quality = random.random(len(labels)).tolist(), random.random(len(labels)).tolist()
    predictions = [
        ImagePrediction("x", sure, float(share < 0.6)) for sure, share in zip(confidence, quality, strict=True)
    ]
    if masks:
        predictions = [ImagePrediction(None, None, iou) for iou in quality]
    label = np.array(labels)
    chosen = choose_images(label, predictions, most)
    assert chosen == choose_images(label, predictions, most)
    assert len(set(chosen)) == len(chosen) == min(most, len(labels))
    counts = {value: sum(label[row] == value for row in chosen) for value in set(labels)}
    incomplete = [count for value, count in counts.items() if count < labels.count(value)]
    assert not incomplete or max(counts.values()) - min(incomplete) <= 1
    for value, count in counts.items():
        wrong = [row for row in chosen if label[row] == value and not predictions[row].correct]
        all_wrong = [row for row in range(len(labels)) if label[row] == value and not predictions[row].correct]
        assert len(wrong) == min(count, len(all_wrong))
        worst = sorted(all_wrong, key=lambda row: predictions[row].quality - (predictions[row].confidence or 0))
        assert sorted(wrong, key=chosen.index) == worst[: len(wrong)]
