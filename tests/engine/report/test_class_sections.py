"""Counts and images of each class."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from engine.report.class_images import read_thumbnails
from engine.report.even_choice import choose_evenly
from engine.run.run import Run
from tests.engine.report.page_reader import read_page
from tests.engine.report.report_runs import make_run


def test_real_and_synthetic_images_are_counted(helped: Run) -> None:
    page = read_page(helped)
    assert page.text.count("5 + 4") == 10
    assert "all 10 classes 50 40 40 0 90" in page.text
    assert len(page.images("synthetic")) == 40 + 18  # 18 are beside their nearest real images
    assert len(page.images("real")) == 40 + 200  # 200 are in the gallery


def test_largest_of_many_classes_are_drawn(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(600)]
    plan = "{per_class: 1, overrides: {c599: 2}}"
    text = f"name: x\nclasses: {json.dumps(names)}\nplan: {plan}\nmodel: {{source: a/b}}\n"
    page = read_page(make_run(tmp_path, text, units=0))
    assert "Of 600 classes, the 60 largest; the numbers below are of the 500 largest." in page.text
    assert "c599 0 2 0 0 0" in page.text


def test_images_are_grouped_by_prompt_strategy(swept: Run) -> None:
    sheets = re.findall(r'<article class="sheet.*?</article>', read_page(swept).html, re.DOTALL)
    assert len(sheets) == 10
    for sheet in sheets:
        copied, noise = re.split(r"<h4>(?:copied|noise)</h4>", sheet)[1:]
        assert copied.count("<figcaption>the digit") == noise.count("<figcaption>a ") == 6


def test_few_of_many_shards_are_read(tmp_path: Path) -> None:
    text = "name: x\nclasses: [a]\nplan: {per_class: 40}\nmodel: {source: a/b}\noutput: {samples_per_shard: 1}\n"
    run = make_run(tmp_path, text)
    names = sorted(run.stats())
    for name in set(names) - set(choose_evenly(names, 4)):
        (run.shards.local / f"{name}.parquet").unlink()
    thumbnails = read_thumbnails(run.shards, {0: names}, 4)
    assert [thumbnail.key[:5] for thumbnail in thumbnails[0]] == choose_evenly(names, 4)


@pytest.mark.parametrize(("length", "count"), [(0, 3), (2, 3), (3, 3), (10, 3), (1000, 12)])
def test_even_choice_is_even_and_in_order(length: int, count: int) -> None:
    chosen = choose_evenly(range(length), count)
    assert len(chosen) == min(length, count)
    assert chosen == sorted(set(chosen))
    gaps = np.diff(chosen)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1
