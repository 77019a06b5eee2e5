"""The base class of all parts of a spec."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1, le=10**12)]
"""A trillion is more than any run needs, and floats still hold it exactly."""
Share = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    """A part of a spec. It refuses unknown keys and wrong types, and is immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)
