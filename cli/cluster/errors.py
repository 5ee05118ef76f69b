"""Why a local cluster does not start."""

from __future__ import annotations


class ClusterError(Exception):
    """Says what is wrong and what to do next; `log_tail` holds the last lines of the process at fault, if any."""

    def __init__(self, message: str, log_tail: str = "") -> None:
        super().__init__(message)
        self.log_tail = log_tail
