"""The `train` section of a spec: settings that are refused, and classifiers by name."""

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
        ({"model": {"kind": "vit", "hidden": 10, "heads": 3}}, "hidden 10 is not divisible by heads 3"),
        ({"model": {"kind": "vit", "pach": 8}}, "Extra inputs are not permitted"),
        ({"model": "resnet19"}, r"there is no 'resnet19'; did you mean resnet18, .* Known are alexnet, .* vit_b_16"),
        ({"model": {"kind": "resnet19"}}, "expected tags: 'alexnet'"),
        ({"weights": "imagenet"}, "weights 'imagenet': small_cnn has none"),
        ({"model": "unet", "balance": "oversample"}, "unet labels pixels"),
        ({"augment": {"hue": {"strength": 0.6}}}, "hue.strength 0.6 is more than 0.5"),
        ({"augment": {"blur": {"strength": 0.0}}}, "greater than 0"),
        ({"schedule": "step"}, "'one_cycle'"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TrainSpec.model_validate(settings)


def test_a_learning_rate_may_be_written_without_a_dot() -> None:
    assert TrainSpec.model_validate_json('{"learning_rate": "1e-5", "weight_decay": "1e-4"}').learning_rate == 1e-5
    for wrong in ("fast", "-1e-5", "0", "nan"):
        with pytest.raises(ValidationError, match="learning_rate"):
            TrainSpec.model_validate({"learning_rate": wrong})


def test_the_identity_of_a_run_excludes_its_training() -> None:
    facts = {"name": "x", "classes": ("a",), "plan": {"per_class": 1}, "model": {"source": "m"}}
    plain, other = (Spec.model_validate(facts | changes) for changes in ({}, {"train": {"steps": 7}}))
    assert identity(plain) == identity(other)


def test_a_name_stands_for_a_classifier_without_settings() -> None:
    by_name, by_kind = (TrainSpec.model_validate({"model": model}) for model in ("vit", {"kind": "vit"}))
    assert by_name == by_kind
    assert TrainSpec().model.kind == "small_cnn"
    assert TrainSpec.model_validate_json(by_name.model_dump_json()) == by_name
    assert by_name.changed({"model": "resnet18"}).model.has_pretrained_weights


def test_arms_that_label_pixels_do_not_compare_with_classes() -> None:
    facts = {"name": "x", "classes": ("a",), "plan": {"per_class": 1}, "model": {"source": "m"}}
    sweep = {"arms": {"masks": {"model": "unet"}, "deep": {"model": "resnet18"}}}
    with pytest.raises(ValidationError, match=r"arms\.masks\.model: masks cannot be compared with classes"):
        Spec.model_validate(facts | {"sweep": sweep})
