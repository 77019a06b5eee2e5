"""Synthetic images beside their nearest real ones."""

import re

from engine.evaluation.measure_result import MeasureResult
from engine.run.run import Run
from shards.storage.manifest import read_rows
from tests.engine.report.page_reader import read_page


def test_copies_are_found_without_measures(swept: Run) -> None:
    page = read_page(swept)
    assert "Of 120 synthetic images, evenly chosen over the run, those that are most like one of" in page.text
    assert "60 are copies; python -m jobs measure compares all" in page.text
    assert len(page.of_class("pair")) == len(page.of_class("copy")) == 18
    assert "distance" not in page.sections
    labels = {row["key"]: row["label"] for row in read_rows(swept.store / "real" / "train", ["key", "label"])}
    articles = re.findall(r'<article class="pair.*?</article>', page.html, re.DOTALL)
    pairs = [re.findall(r'title="(?:[^"]*, )?(\w+)"', article) for article in articles]
    assert len(pairs) == 18
    plan = swept.context.plan
    assert all(plan.slot_of_key(synthetic).label == labels[real] for synthetic, real in pairs)


def test_measured_copies_are_beside_their_originals(measured: Run) -> None:
    page, result = read_page(measured), MeasureResult.read(measured.store)
    assert result is not None
    assert result.copies.count == 60
    assert "60 are copies." in page.text
    assert len(page.images("nearest real image by pixels")) == len(page.of_class("pair")) == 18
    nearest = [image for image in page.of_class("tiny") if (image["alt"] or "").startswith("nearest real image")]
    assert {image["title"] for image in nearest} <= {match.real for match in result.copies.listed}
    assert page.images("nearest real train image by features")
