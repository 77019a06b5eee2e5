"""A network pickle, and the checkout of the code that unpickles it. Loading runs whatever code the two hold."""

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
    """Raises ModelError where a file is missing. Opens none."""
    if not Path(source).expanduser().is_file():
        raise ModelError(f"model.source: no file {source} on this node; download the network pickle, and give its path")
    for name in _CODE:
        if not (Path(code).expanduser() / name).is_file():
            raise ModelError(
                f"model.code: {code} has no {name}; give the checkout of the network's code, such as stylegan-xl"
            )


def load_network(source: str, code: str) -> Any:
    """The torch module `G_ema` of a pickle as StyleGAN2-ADA, StyleGAN3 and StyleGAN-XL write them: read by the
    checkout's `legacy.load_network_pkl`. Raises ModelError."""
    check_checkout(source, code)
    folder = Path(code).expanduser().resolve()
    with _importing_from(folder), Path(source).expanduser().open("rb") as file:
        try:
            return _reader(folder).load_network_pkl(file)["G_ema"]
        except ImportError as error:
            raise ModelError(
                f"model.code: {code} cannot be imported: {error}; install what that checkout asks for, or give the "
                "one that wrote the pickle"
            ) from error
        except (UnpicklingError, EOFError, AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"model.source: {source} is no network pickle for {code}: {error!r}; download it again, or give the "
                "checkout that wrote it"
            ) from error


def _reader(folder: Path) -> Any:
    legacy = importlib.import_module("legacy")
    if Path(str(legacy.__file__)).parent != folder:
        raise ModelError(f"model.code: this process has imported {legacy.__file__} already; use one checkout at a time")
    return legacy


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Its modules are found first: the pickle's classes import them too."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
