"""Confusion matrices."""

import numpy as np

from engine.evaluation.sweep_result import SweepResult
from engine.report.confusion import confusion_matrices
from engine.run.run import Run
from tests.engine.report.page_reader import read_page


def test_cells_are_shares_of_the_true_class(swept: Run) -> None:
    sweep = SweepResult.read(swept.store)
    assert sweep is not None
    confusions = confusion_matrices(sweep)
    assert [confusion.title for confusion in confusions] == [
        "alpha 0", "alpha* 0.5", "alpha 1", "oversampling", "class weights", "all images", "oracle",
    ]  # fmt: skip
    for confusion in confusions:
        assert confusion.cells is not None
        counts = np.array(confusion.arm.confusion)
        assert np.allclose([row or [0] * 10 for row in confusion.cells], counts / counts.sum(axis=1, keepdims=True))
        assert confusion.pairs[0].count == (counts - np.diag(np.diag(counts))).max()
    page = read_page(swept)
    assert len(page.of_class("matrix")) == 7
    assert len(page.of_class("printed")) == 2
