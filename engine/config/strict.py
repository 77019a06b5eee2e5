"""What all parts of a spec have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1, le=10**12)]
"""A trillion is more than any run has, and few enough for floats to be divided without loss."""
Share = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    """A part of a spec: unknown keys and wrong types are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)
