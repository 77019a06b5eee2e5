"""The result of one training, RUN/train/NAME/result.json."""

from typing import ClassVar

from engine.config.train_spec import TrainSpec
from engine.run.stored_result import StoredResult
from engine.training.classifier.metrics import Scores

RESULT = "result.json"


class TrainResult(StoredResult):
    """Settings and scores of a finished training. It is written last, so a folder that has it is finished."""

    FILE: ClassVar[str] = RESULT
    REMEDY: ClassVar[str] = "remove it and run train again"

    name: str
    fingerprint: str
    """Digest of everything that the result depends on."""
    settings: TrainSpec
    classes: tuple[str, ...]
    step: int
    """Step whose weights the network has."""
    last_step: int
    """Last step that was trained."""
    steps: int
    """Steps that the spec asks for; early stopping may end the training before."""
    validation: Scores
    test: Scores | None = None
    workers: int
    device: str
    seconds_since_last_start: float
    versions: dict[str, str]
