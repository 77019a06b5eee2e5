"""LoRA adapters of a pipeline: loaded once, activated by class."""

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any

from diffusers.utils import logging

from engine.errors import ModelError
from engine.generators.diffusers_settings import AdapterSpec
from engine.generators.generator import AdapterFacts
from engine.models.resolve import LocalModel

Active = tuple[int, ...]
"""The positions in the spec of the adapters that are switched on."""


class Adapters:
    """The adapters of a pipeline. models: by their place in the spec."""

    def __init__(self, pipe: Any, specs: Sequence[AdapterSpec], models: Mapping[str, LocalModel]) -> None:
        self._pipe, self._specs = pipe, specs
        self._active: Active | None = None
        local_models = [models[f"model.adapters.{number}.source"] for number in range(len(specs))]
        for number, model in enumerate(local_models):
            _load(pipe, _name(number), model)
        self.facts = tuple(
            AdapterFacts(
                spec.source, m.revision, spec.weight, spec.classes, m.generation, tuple(sorted(m.training_digests))
            )
            for spec, m in zip(specs, local_models, strict=True)
        )

    def for_class(self, class_name: str) -> Active:
        """Return the adapters that a class uses."""
        return tuple(
            number for number, spec in enumerate(self._specs) if spec.classes is None or class_name in spec.classes
        )

    def activate(self, active: Active) -> None:
        """Switch exactly these adapters on."""
        if not self._specs or active == self._active:
            return
        if active:
            self._pipe.enable_lora()
            self._pipe.set_adapters([_name(n) for n in active], [self._specs[n].weight for n in active])
        else:
            self._pipe.disable_lora()
        self._active = active


def _name(number: int) -> str:
    return f"adapter{number}"


def _load(pipe: Any, name: str, model: LocalModel) -> None:
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # otherwise diffusers warns of every component that an adapter leaves unchanged
    try:
        pipe.load_lora_weights(model.folder, adapter_name=name, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, AttributeError) as error:
        raise _mismatch(model, " ".join(str(error).split())) from error
    finally:
        logging.set_verbosity(verbosity)
    # If the pipeline has none of the adapter's layers, diffusers logs that and ignores the weights.
    if not any(name in names for names in pipe.get_list_adapters().values()):
        raise _mismatch(model, "it has none of the adapter's layers")


def _mismatch(model: LocalModel, reason: str) -> ModelError:
    return ModelError(
        f"{model.part.place}: {model.part.source!r} does not fit this model ({shorten(reason, 160)}); "
        "give the model that it was trained on, or one of that family"
    )
