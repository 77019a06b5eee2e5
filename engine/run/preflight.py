"""Checks of a recipe against the real data, before anything is spent: no image that judges may leak into a prompt."""

from engine.config.condition_spec import ConditionSpec, MasksCondition, ShapesCondition
from engine.config.spec import Spec
from engine.data.splits import Splits
from engine.errors import SpecError
from engine.models.resolve import taught_palette
from engine.run.run_context import RunContext


def check_sources(recipe: RunContext, splits: Splits | None) -> None:
    """Raises SpecError where a bank's prompt describes an image that is not one of its own class in the train split (a
    caption of a validation image would tell of it), or where a class has nothing to be conditioned on."""
    if recipe.spec.model.takes_prompts:
        _check_described(recipe, splits)
    if isinstance(recipe.spec.condition, ShapesCondition):
        _check_drawable(recipe.spec.condition, recipe.plan.classes)
    elif recipe.spec.condition is not None and recipe.inputs.condition is None:
        _check_supplied(recipe, recipe.spec.condition)


def check_colours(spec: Spec) -> None:
    """Raises SpecError where masks have other colours than those that the ControlNet learned, which it would not
    follow. Its folder, if it is one, must be there."""
    taught, palette = taught_palette(spec.model), spec.mask_palette
    if taught is None or palette is None:
        return
    place = "data.masks.palette" if isinstance(spec.condition, MasksCondition) else "condition.palette"
    for name, colour in palette.items():
        if taught.get(name) != list(colour):
            known = f"learned it as {taught[name]}" if name in taught else f"knows only {', '.join(taught)}"
            raise SpecError(f"{place}.{name}: is {list(colour)}, and the ControlNet {known}; give the colours it knows")


def _check_described(recipe: RunContext, splits: Splits | None) -> None:
    sources = recipe.prompts.sources()  # reads every bank, also where there is no real data to compare with
    if splits is None:
        return
    train = {image.digest: image.class_name for image in splits.train}
    for name, source in sources:
        if train.get(source) != name:
            raise SpecError(
                f"prompts.bank: a prompt of {name!r} describes image {source[:12]}, which is not one of its train "
                "split; write the captions anew with the data and splits of this spec"
            )


def _check_drawable(spec: ShapesCondition, classes: tuple[str, ...]) -> None:
    for name in classes:
        if name not in spec.palette:
            raise SpecError(f"condition.palette: has no colour for the class {name!r}; add one")
        if name == spec.background:
            raise SpecError(
                f"condition.background: {name!r} is a class too, and its shapes could not be told from it; take another"
            )


def _check_supplied(recipe: RunContext, spec: ConditionSpec) -> None:
    have = {image.label for image in recipe.inputs.images}
    for label, (name, quota) in enumerate(zip(recipe.plan.classes, recipe.plan.quotas, strict=True)):
        if quota and label not in have:
            what = "layout" if spec.source == "layouts" else "train image"
            raise SpecError(
                f"condition: class {name!r} has no {what}, and {quota} images of it are to be made; add some, or set "
                f"plan.overrides.{name}=0"
            )
