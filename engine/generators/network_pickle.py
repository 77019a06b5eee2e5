"""Network pickles, which the code of a checkout unpickles. Loading one runs any code that the two contain."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from engine.errors import ModelError

_CODE = ("legacy.py", "dnnlib/__init__.py")


def check_checkout(source: str, code: str) -> None:
    """Raise ModelError if a file is missing. Opens no file."""
    if not Path(source).expanduser().is_file():
        raise ModelError(f"model.source: no file {source} on this node; download the network pickle, and give its path")
    for name in _CODE:
        if not (Path(code).expanduser() / name).is_file():
            raise ModelError(
                f"model.code: {code} has no {name}; give the checkout of the network's code, such as stylegan-xl"
            )


def load_network(source: str, code: str) -> Any:
    """Return the torch module `G_ema` of a StyleGAN's pickle, read by the checkout in `code`. Raises ModelError."""
    check_checkout(source, code)
    folder = Path(code).expanduser().resolve()
    with _importing_from(folder), Path(source).expanduser().open("rb") as file:
        try:
            return _import_legacy(folder).load_network_pkl(file)["G_ema"]
        except ImportError as error:
            raise ModelError(
                f"model.code: {code} cannot be imported: {error}; install what that checkout requires, or give the "
                "one that wrote the pickle"
            ) from error
        except (UnpicklingError, EOFError, AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"model.source: {source} is not a network pickle for {code}: {error!r}; download it again, or give the "
                "checkout that wrote it"
            ) from error


def _import_legacy(folder: Path) -> Any:
    legacy = importlib.import_module("legacy")
    if Path(str(legacy.__file__)).parent != folder:
        raise ModelError(f"model.code: this process has imported {legacy.__file__} already; use one checkout at a time")
    return legacy


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Put a folder first on the import path: the pickle's classes import modules of it as well."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
