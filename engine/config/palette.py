"""The classes of mask pixels and their colours."""

from typing import Annotated

from pydantic import AfterValidator, Field

Colour = tuple[
    Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]
]


def _distinct(palette: dict[str, Colour]) -> dict[str, Colour]:
    names: dict[Colour, str] = {}
    for name, colour in palette.items():
        if colour in names:
            raise ValueError(f"{names[colour]!r} and {name!r} have the same colour {list(colour)}; change one")
        names[colour] = name
    return palette


Palette = Annotated[dict[str, Colour], Field(min_length=1, max_length=255), AfterValidator(_distinct)]
"""Colour of each mask class. Class indices of masks follow this order."""
