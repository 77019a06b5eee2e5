"""Where a model is, decided without loading it."""

from pathlib import Path

from engine.errors import ModelError
from engine.spec import ModelSpec

_EMBEDDED = Path(__file__).parent / "embedded"
_INDEX = "model_index.json"


def resolve_model(model: ModelSpec) -> str:
    """The folder of a local or embedded model, or the hub id as it is.

    Raises ModelError for a folder that is missing or holds no model. A hub id has one slash and is no path here.
    """
    source = model.source
    if source.startswith("embedded/"):
        folder = _EMBEDDED / source.removeprefix("embedded/")
        if not (folder / _INDEX).is_file():
            known = ", ".join(sorted(f"embedded/{p.parent.name}" for p in _EMBEDDED.glob(f"*/{_INDEX}")))
            raise ModelError(f"model.source: there is no {source!r}; embedded are: {known or 'none'}")
        return str(folder)
    folder = Path(source).expanduser()
    if folder.is_dir():
        if not (folder / _INDEX).is_file():
            raise ModelError(f"model.source: {source} holds no {_INDEX}; give the folder of a saved diffusers pipeline")
        return str(folder)
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise ModelError(f"model.source: no folder {source}; give a model's folder, a hub id, or embedded/digits")
    return source


def world_digests(model: ModelSpec) -> frozenset[str]:
    """Digests of the real images that the generator learned from; empty where its folder does not say."""
    path = Path(resolve_model(model)) / "world_digests.txt"
    return frozenset(path.read_text(encoding="utf-8").split()) if path.is_file() else frozenset()
