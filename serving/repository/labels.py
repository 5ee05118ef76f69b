"""Which version of a model is `stable`: `labels.json` beside its versions, written by promotion and rollback."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from serving.repository.manifest import VERSION_PATTERN

LABELS_FILE = "labels.json"
MAX_LABELS_BYTES = 4096
MAX_HISTORY = 20

Version = Annotated[str, Field(pattern=VERSION_PATTERN)]


class Labels(BaseModel):
    """The content of the file; empty where nothing was ever promoted: the first version is then the stable one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stable: Version | None = Field(default=None, description="the version that services which follow `stable` serve")
    history: tuple[Version, ...] = Field(
        default=(),
        max_length=MAX_HISTORY,
        description="what was stable before, oldest first; a rollback takes the last",
    )

    @classmethod
    def read(cls, directory: Path) -> Labels:
        """Reads `directory/labels.json`.

        Raises:
            OSError: it is there and cannot be read.
            ValueError: it is too large or does not fit (pydantic's error names the field).
        """
        path = directory / LABELS_FILE
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise ValueError(f"{path} is not a plain file")
            with path.open("rb") as stream:
                content = stream.read(MAX_LABELS_BYTES + 1)
        except FileNotFoundError:
            return cls()
        if len(content) > MAX_LABELS_BYTES:
            raise ValueError(f"{path} is larger than {MAX_LABELS_BYTES} bytes")
        return cls.model_validate_json(content)
