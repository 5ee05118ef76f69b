"""The base of what is read from files: it does not change, and knows all of its fields."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A field that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
