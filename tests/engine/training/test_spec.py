"""What a `train` section may say."""

import pytest
from pydantic import ValidationError

from engine.config.spec import Spec
from engine.config.spec_file import identity
from engine.config.train_spec import TrainSpec


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 3, "epochs": 1.0}, "steps or epochs, not both"),
        ({"batch_size": 10, "workers": 4}, "cannot be shared equally by 4 workers"),
        ({"model": "vit"}, "given together"),
        ({"vit": {"hidden": 10, "heads": 3}, "model": "vit"}, "no multiple of heads"),
        ({"weights": "imagenet"}, "there are none of small_cnn"),
        ({"model": "unet", "balance": "oversample"}, "unet learns those of pixels"),
        ({"augment": {"hue": {"strength": 0.6}}}, "hue.strength 0.6 is more than 0.5"),
        ({"augment": {"blur": {"strength": 0.0}}}, "greater than 0"),
        ({"schedule": "step"}, "'one_cycle'"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TrainSpec.model_validate(settings)


def test_a_rate_may_be_written_without_a_dot() -> None:
    assert TrainSpec.model_validate_json('{"learning_rate": "1e-5", "weight_decay": "1e-4"}').learning_rate == 1e-5
    for wrong in ("fast", "-1e-5", "0", "nan"):
        with pytest.raises(ValidationError, match="learning_rate"):
            TrainSpec.model_validate({"learning_rate": wrong})


def test_a_run_may_be_trained_on_in_any_way() -> None:
    facts = {"name": "x", "classes": ("a",), "plan": {"per_class": 1}, "model": {"source": "m"}}
    plain, other = (Spec.model_validate(facts | more) for more in ({}, {"train": {"steps": 7}}))
    assert identity(plain) == identity(other)
