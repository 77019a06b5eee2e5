"""Class names as folder names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.class_folders import class_name, folder_names
from engine.errors import SpecError
from tests.engine.export.exports import HOSTILE


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), unique=True, max_size=8))
def test_folder_names_are_safe_distinct_and_reversible(classes: list[str]) -> None:
    check_names(classes)


def test_hostile_names() -> None:
    check_names(list(HOSTILE))


def check_names(classes: list[str]) -> None:
    names = folder_names(classes)
    assert [class_name(name) for name in names] == classes
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        assert Path(name).name == name
        assert not name.startswith((".", "__"))
        assert not name.endswith((".", " "))
        assert name.isprintable() or any(not char.isprintable() for char in class_name(name))


def test_ordinary_names_stay() -> None:
    ordinary = ("sea lion", "größe", "猫", "50% wool", "o'clock", "a+b", "x_y", "3", "Train")
    assert folder_names(ordinary) == ordinary


@pytest.mark.parametrize("name", ["", "é" * 200])
def test_a_name_that_no_folder_can_have_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="bytes as a folder name"):
        folder_names([name])
