"""The settings that every generator has, and the model parts that they name."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Self

from engine.config.condition_spec import ConditionSpec
from engine.config.strict import Count, Strict
from engine.errors import SpecError
from engine.plugins import PluginFamily

DEFAULT_BATCH_SIZE = 16


@dataclass(frozen=True, slots=True)
class ModelPart:
    """One model that a spec names: a folder, or a hub repository at a revision."""

    place: str  # key in the spec, for messages
    source: str
    revision: str | None  # branch, tag or commit of a hub repository; once pinned, a commit or `name@commit`
    index: str  # the file that every folder of such a model has
    variant: str | None = None  # of the weight files

    @property
    def commit(self) -> str | None:
        """The commit that the revision is pinned to; None if it is not pinned."""
        last = (self.revision or "").rpartition("@")[2]
        return last if re.fullmatch("[0-9a-f]{40}", last) else None


class ModelSettings(Strict):
    """The settings that every generator has. Each subclass has its own Literal as `kind`."""

    kind: str
    source: str
    """Where the model is."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 if the device has instructions for it; else fp16 on a GPU, fp32 on a CPU."""
    batch_size: Count | Literal["auto"] = DEFAULT_BATCH_SIZE
    """Images of a forward pass. It is part of the result: the last batch of a unit is padded, never shrunk. If it does
    not fit into the device's memory, whole units are made in batches of half the size, which their stats name.
    auto: when the run begins, one actor measures which size is fast on its device; the run keeps that number."""

    @property
    def parts(self) -> tuple[ModelPart, ...]:
        """The models to fetch before the generator can be loaded, the main one first."""
        return ()

    def with_revisions(self, revisions: Mapping[str, str]) -> Self:
        """Return the settings with other revisions. revisions: by the place of their part."""
        return self

    def fixed_batch_size(self) -> int:
        """Return the batch size as a number. Raises SpecError if it has yet to be measured."""
        if self.batch_size == "auto":
            raise SpecError("model.batch_size: auto is measured when `generate` begins a run; give a number here")
        return self.batch_size

    def with_batch_size(self, batch_size: int) -> Self:
        """Return the settings for batches of another size."""
        return self.model_copy(update={"batch_size": batch_size})

    def check_files(self) -> None:
        """Raise ModelError if a file that is not one of `parts` is missing. Opens no file."""

    @property
    def takes_prompts(self) -> bool:
        """Return whether the generator reads prompts."""
        return True

    @property
    def takes_condition(self) -> bool:
        """Return whether the generator needs the images of the spec's `condition`."""
        return False

    def check_condition(self, condition: ConditionSpec | None) -> None:
        """Raise ValueError if the generator cannot follow the spec's `condition`."""
        if condition is None and self.takes_condition:
            raise ValueError(f"model.kind {self.kind!r} needs a condition, like condition: {{source: real}}")
        if condition is not None and not self.takes_condition:
            raise ValueError(
                f"model.kind {self.kind!r} takes no condition: leave it out, or choose a kind that takes one"
            )

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width in pixels that the settings ask for; None is the model's own."""
        return None, None

    @property
    def byte_preserving(self) -> Mapping[str, set[str]]:
        """Settings that change no byte of an image, by the key of `model` that contains them."""
        return {}

    @property
    def named_classes(self) -> Mapping[str, Iterable[str]]:
        """Class names that the settings contain, by their place in the spec."""
        return {}


GENERATORS = PluginFamily[ModelSettings](
    "generator", key="kind", folder="engine.generators.kinds", group="shardmill.generators"
)
"""Their factories take (settings, ImageSpec, ClusterSpec) and load the model onto this process's device."""
