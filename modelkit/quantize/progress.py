"""Where fine-tuning stands, kept so that a run which was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from modelkit.training.checkpoint import write_checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """A file that holds the state of one run.

    Attributes:
        file: it need not exist.
        run: names all that decides what the run comes to; the state of another run is passed over.
    """

    file: Path
    run: str

    @classmethod
    def of(cls, folder: Path, name: str, *decisive: object) -> Progress:
        """The progress of a run on a model of this name, in a folder of such files."""
        run = hashlib.sha256(repr(decisive).encode()).hexdigest()
        return cls(folder / f"{name}-{run[:16]}.pt", run)

    def read(self) -> dict[str, Any] | None:
        """The state as it was kept; None where there is none, or none that could be read."""
        try:
            kept = torch.load(self.file, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            log.warning("fine-tuning starts over, since %s cannot be read: %s", self.file, error)
            return None
        if not isinstance(kept, dict) or kept.get("run") != self.run:
            return None
        state: dict[str, Any] = kept["state"]
        return state

    def write(self, state: dict[str, Any]) -> None:
        """Keeps a state: the old one or the new one, whenever the machine stops. Where it cannot, work goes on."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_checkpoint(self.file, {"run": self.run, "state": state})
        except OSError as error:
            log.warning("the progress of fine-tuning cannot be kept in %s: %s", self.file.parent, error)

    def forget(self) -> None:
        """The run is over: nothing is left of it."""
        self.file.unlink(missing_ok=True)
