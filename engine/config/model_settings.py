"""Settings that every generator has, and the models that they name."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Self

from engine.config.condition_spec import ConditionSpec
from engine.config.strict import Count, Strict
from engine.errors import SpecError
from engine.plugins import PluginFamily


@dataclass(frozen=True, slots=True)
class ModelPart:
    """One model that a spec names: a folder, or a hub repository at a revision.

    place:    its key in the spec, for messages.
    revision: branch, tag or commit of a hub repository; once pinned, a commit or `name@commit`.
    index:    the file without which a folder holds no such model.
    variant:  of the weight files, where there is such.
    """

    place: str
    source: str
    revision: str | None
    index: str
    variant: str | None = None

    @property
    def commit(self) -> str | None:
        """The commit that the revision is pinned to."""
        last = (self.revision or "").rpartition("@")[2]
        return last if re.fullmatch("[0-9a-f]{40}", last) else None


DEFAULT_BATCH_SIZE = 16


class ModelSettings(Strict):
    """What the settings of every generator have. `kind` is a Literal in each, and tells them apart."""

    kind: str
    source: str
    """Where the model is."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 where the device has the instructions; else fp16 on a GPU, fp32 on a CPU."""
    batch_size: Count | Literal["auto"] = DEFAULT_BATCH_SIZE
    """Images of a forward pass. It is part of the result: the last batch of a unit is padded, never shrunk. Where the
    device has no room for it, whole units are made in batches of half the size, which their stats name.
    auto: when the run begins, one actor measures which size is fast on its device; the run keeps that number."""

    @property
    def parts(self) -> tuple[ModelPart, ...]:
        """The models to fetch before it can be loaded, the main one first."""
        return ()

    def with_revisions(self, revisions: Mapping[str, str]) -> Self:
        """The same with the revisions of these parts, by their place, replaced."""
        return self

    def fixed_batch_size(self) -> int:
        """The batch size as a number. Raises SpecError where it is yet to be measured."""
        if self.batch_size == "auto":
            raise SpecError("model.batch_size: auto is measured when `generate` begins a run; give a number here")
        return self.batch_size

    def with_batch_size(self, batch_size: int) -> Self:
        """The same for batches of another size."""
        return self.model_copy(update={"batch_size": batch_size})

    def check_files(self) -> None:
        """Raises ModelError where a file that is no part is missing, before anything is spent. Opens none."""

    @property
    def takes_prompts(self) -> bool:
        """Whether it reads prompts."""
        return True

    @property
    def takes_condition(self) -> bool:
        """Whether it needs the images of the spec's `condition`."""
        return False

    def check_condition(self, condition: ConditionSpec | None) -> None:
        """Raise ValueError where the spec's `condition` is not one that this generator can follow."""
        if condition is None and self.takes_condition:
            raise ValueError(f"model.kind {self.kind!r} needs a condition, like condition: {{source: real}}")
        if condition is not None and not self.takes_condition:
            raise ValueError(f"model.kind {self.kind!r} takes no condition: leave it out, or choose controlnet")

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width in pixels that the settings ask for; None is the model's own."""
        return None, None

    @property
    def same_bytes(self) -> Mapping[str, set[str]]:
        """Settings that change no byte of an image, by the key of `model` that holds them."""
        return {}

    @property
    def named_classes(self) -> Mapping[str, Iterable[str]]:
        """Class names that the settings hold, by their place."""
        return {}


GENERATORS = PluginFamily[ModelSettings](
    "generator", key="kind", folder="engine.generators.kinds", group="shardmill.generators"
)
"""Their factories take (settings, ImageSpec, ClusterSpec) and load the model onto this process's device."""
