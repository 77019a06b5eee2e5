"""LoRA adapters: loaded once, switched on by class."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from textwrap import shorten
from typing import Any

from diffusers.utils import logging

from engine.errors import ModelError
from engine.generators.diffusers_settings import AdapterSpec
from engine.generators.generator import AdapterFacts
from engine.models.resolve import LocalModel

Active = tuple[int, ...]


class Adapters:
    """The adapters of a pipeline, by their place in the spec."""

    def __init__(self, pipe: Any, specs: Sequence[AdapterSpec], models: Mapping[str, LocalModel]) -> None:
        self._pipe, self._specs = pipe, specs
        self._active: Active | None = None
        found = [models[f"model.adapters.{number}.source"] for number in range(len(specs))]
        for number, model in enumerate(found):
            _load(pipe, _name(number), model)
        self.facts = tuple(_facts(spec, model) for spec, model in zip(specs, found, strict=True))

    def of(self, class_name: str) -> Active:
        """The adapters for a class."""
        return tuple(n for n, one in enumerate(self._specs) if one.classes is None or class_name in one.classes)

    def use(self, active: Active) -> None:
        """Switch exactly these on."""
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
    try:
        with _no_warnings():
            pipe.load_lora_weights(model.folder, adapter_name=name, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, AttributeError) as error:
        raise _misfit(model, " ".join(str(error).split())) from error
    # Of weights none of whose layers this model has, diffusers says so in its log and goes on without them.
    if not any(name in names for names in pipe.get_list_adapters().values()):
        raise _misfit(model, "it has none of the adapter's layers")


def _misfit(model: LocalModel, reason: str) -> ModelError:
    return ModelError(
        f"{model.part.place}: {model.part.source!r} does not fit this model ({shorten(reason, 160)}); "
        "give the model that it was trained on, or one of that family"
    )


@contextmanager
def _no_warnings() -> Iterator[None]:
    """diffusers warns of every part that an adapter leaves as it is, and logs its errors besides raising them."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _facts(spec: AdapterSpec, model: LocalModel) -> AdapterFacts:
    learned = tuple(sorted(model.learned))
    return AdapterFacts(spec.source, model.revision, spec.weight, spec.classes, model.generation, learned)
