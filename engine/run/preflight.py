"""Checks of a run before anything is spent."""

from engine.config.condition_spec import ConditionSpec, MasksCondition, ShapesCondition
from engine.config.spec import Spec
from engine.data.splits import Splits
from engine.errors import SpecError
from engine.models.model_folder import trained_palette
from engine.run.run_context import RunContext


def check_sources(context: RunContext, splits: Splits | None) -> None:
    """Raise SpecError where a caption leaks a held-out image, or where a class has no condition."""
    if context.spec.model.takes_prompts:
        _check_described(context, splits)
    if isinstance(context.spec.condition, ShapesCondition):
        _check_drawable(context.spec.condition, context.plan.classes)
    elif context.spec.condition is not None and context.assets.condition is None:
        _check_supplied(context, context.spec.condition)


def check_colours(spec: Spec) -> None:
    """Raise SpecError where masks have colours that the ControlNet did not learn: it would not follow them."""
    taught, palette = trained_palette(spec.model), spec.mask_palette
    if taught is None or palette is None:
        return
    place = "data.masks.palette" if isinstance(spec.condition, MasksCondition) else "condition.palette"
    for name, colour in palette.items():
        if taught.get(name) != list(colour):
            known = f"learned it as {taught[name]}" if name in taught else f"learned only {', '.join(taught)}"
            raise SpecError(
                f"{place}.{name}: is {list(colour)}, and the ControlNet {known}; use the colours that it learned"
            )


def _check_described(context: RunContext, splits: Splits | None) -> None:
    described = context.prompts.described_images()  # reads every bank, so that a damaged one is found here
    if splits is None:
        return
    # A caption of a validation image, or of another class, would describe what the classifier must not see.
    train = {image.digest: image.class_name for image in splits.train}
    for name, digest in described:
        if train.get(digest) != name:
            raise SpecError(
                f"prompts.bank: a prompt of {name!r} describes image {digest[:12]}, which is not one of its train "
                "split; write the captions anew with the data and splits of this spec"
            )


def _check_drawable(spec: ShapesCondition, classes: tuple[str, ...]) -> None:
    for name in classes:
        if name not in spec.palette:
            raise SpecError(f"condition.palette: has no colour for the class {name!r}; add one")
        if name == spec.background:
            raise SpecError(
                f"condition.background: {name!r} is a class too, so its shapes would be invisible; choose another"
            )


def _check_supplied(context: RunContext, spec: ConditionSpec) -> None:
    available = {image.label for image in context.assets.images}
    for label, (name, quota) in enumerate(zip(context.plan.classes, context.plan.quotas, strict=True)):
        if quota and label not in available:
            what = "layout" if spec.source == "layouts" else "train image"
            raise SpecError(
                f"condition: class {name!r} has no {what}, and {quota} images of it are to be made; add some, or set "
                f"plan.overrides.{name}=0"
            )
