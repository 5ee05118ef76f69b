"""A channel whose certificates are renewed while it is used: gRPC reads a channel's certificates once and for all."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from ferry.tls import Tls, TlsError
from serving.rpc.fresh_channel import FreshChannel
from serving.watched_file import WatchedFile

_LOOK_SECONDS = 1.0
"""Least time between two looks at the files."""


class RenewingChannel(FreshChannel):
    """A call that finds renewed files opens a new channel; calls in flight finish on the old one. Files that do not fit
    change nothing: the old certificates serve until they expire. It looks at the files when it is asked for its state,
    too: nobody calls while no replica takes expired ones."""

    def __init__(self, tls: Tls, connect: Callable[[grpc.ChannelCredentials], grpc.aio.Channel]) -> None:
        """
        Args:
            tls: the files.
            connect: opens a channel.

        Raises:
            TlsError: the files do not fit.
        """
        self._credentials = WatchedFile(
            "certificates",
            tls.channel_credentials,
            tls.signature,
            errors=(TlsError, OSError),
            least_seconds=_LOOK_SECONDS,
        )
        super().__init__(lambda: connect(self._credentials.value))
        self._look = self._renew

    def _renew(self) -> None:
        if self._credentials.look():
            self._reopen()
