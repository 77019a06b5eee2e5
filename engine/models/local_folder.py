"""Models in a folder on this node: the user's own, and those that ship with Shardmill."""

from pathlib import Path

from engine.config.model_settings import ModelPart
from engine.errors import ModelError

_EMBEDDED = Path(__file__).parents[1] / "embedded"


def local_folder(part: ModelPart) -> Path | None:
    """Return the folder of a local or embedded model, or None for a hub id. Raises ModelError if it is missing."""
    source = part.source
    if source.startswith("embedded/"):
        return _embedded_folder(part)
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise ModelError(f"{part.place}: no folder {source}; give a model's folder, a hub id, or embedded/digits")
    return None


def _embedded_folder(part: ModelPart) -> Path:
    folder = _EMBEDDED / part.source.removeprefix("embedded/")
    if not (folder / part.index).is_file():
        known = ", ".join(sorted(f"embedded/{path.parent.name}" for path in _EMBEDDED.glob(f"*/{part.index}")))
        raise ModelError(f"{part.place}: there is no {part.source!r}; embedded are: {known or 'none'}")
    return folder
