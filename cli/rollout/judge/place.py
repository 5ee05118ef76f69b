"""Where the routing table and the judge's state lie: a file and its neighbour, or one ConfigMap."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, Protocol

from cli.rollout.judge.state import State, StateError, load
from cli.rollout.weights import CONFIG_MAP, FILE, render
from gateway.routing.table import STABLE, RoutingTable
from gateway.routing.withdrawal import digest
from serving.bounded_read import read_bounded
from serving.config_file import ConfigFileError, parse_config, read_bytes
from serving.disk import flush

ANNOTATION = "ferry/judge"
"""Of the ConfigMap: the judge's state. Not its data: that is mounted into every gateway."""
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT = 3.0
_LIMIT = 1 << 20
_LOCK_SECONDS = 3.0
"""That another judge may take to write."""
_LOCK_PAUSE = 0.05


class PlaceError(Exception):
    """The table cannot be read or written now; says why."""


class ConflictError(PlaceError):
    """Somebody else has changed it since it was read."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What lies there.

    Attributes:
        table: the routing table.
        state: the judge's.
        version: another one after every change.
        digest: of the table's bytes, as gateways compute it.
    """

    table: RoutingTable
    state: State
    version: str
    digest: str


class Place(Protocol):
    """One of those below."""

    def read(self) -> Snapshot:
        """
        Raises:
            PlaceError: there is no table, or none that a gateway would use.
        """
        ...

    def write(self, before: Snapshot, table: RoutingTable, state: State) -> None:
        """Replaces what was read, at once or not at all.

        Raises:
            ConflictError: it is not what was read any more.
            PlaceError: it cannot be written.
        """
        ...


class LocalPlace:
    """A routing file; the state lies beside it, in NAME.judge."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state_path = path.with_name(path.name + ".judge")

    def read(self) -> Snapshot:
        try:
            data = read_bytes(self.path)
            state = self._state_text()
        except (ConfigFileError, OSError, ValueError) as error:
            raise PlaceError(f"{self.path} cannot be read: {error}") from error
        return Snapshot(
            _table(data, str(self.path)),
            _state(state, str(self.state_path)),
            hashlib.sha256(data + b"\0" + state.encode()).hexdigest(),
            digest(data),
        )

    def write(self, before: Snapshot, table: RoutingTable, state: State) -> None:
        try:
            with self._locked():
                if self.read().version != before.version:
                    raise ConflictError(f"{self.path} has changed meanwhile")
                # A judge that dies in between finds a weight that it had not set, and stands back: so a canary that is
                # taken back loses its callers first, and one that steps up gets them last.
                writes = [(self.state_path, state.dump())]
                if table != before.table:
                    back = table.shares.get(STABLE, 0.0) > before.table.shares.get(STABLE, 0.0)
                    writes.insert(0 if back else 1, (self.path, render(table)))
                try:
                    for path, text in writes:
                        _write(_new(path), text, like=self.path)
                    # A person who replaces the file takes no lock: what took long is done, so look once more.
                    if self.read().version != before.version:
                        raise ConflictError(f"{self.path} has changed meanwhile")
                    for path, _ in writes:
                        _put(_new(path), path)
                finally:
                    for path, _ in writes:
                        _new(path).unlink(missing_ok=True)
                flush(self.path.parent)
        except OSError as error:
            raise PlaceError(f"{self.path} cannot be written: {error}") from error

    def _state_text(self) -> str:
        if not self.state_path.exists():
            return ""
        if not self.state_path.is_file():
            # A pipe that nobody writes into reads as empty: that would be to forget.
            raise PlaceError(f"{self.state_path} is no file; nothing is judged until it is removed")
        return read_bounded(self.state_path, _LIMIT).decode()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        path, end = self.state_path.with_name(self.state_path.name + ".lock"), time.monotonic() + _LOCK_SECONDS
        with open(path, "a", opener=_without_waiting) as file:
            while not _taken(file):
                if time.monotonic() >= end:
                    raise PlaceError(f"{self.path} cannot be written: another process holds the lock {path}")
                time.sleep(_LOCK_PAUSE)
            yield


class ConfigMapPlace:
    """The ConfigMap `routing`, by the API server and the rights of this pod."""

    def __init__(self, url: str, namespace: str, token: Path | None, ca: Path | None) -> None:
        """
        Args:
            url: of the API server.
            namespace: Ferry's.
            token: file with the pod's token, read again for each call since it is renewed; None: none is sent.
            ca: file with the authority of the API server; None: the system's.
        """
        self._url = f"{url}/api/v1/namespaces/{namespace}/configmaps/{CONFIG_MAP}"
        self._token = token
        self._ca = ca

    @classmethod
    def of_this_pod(cls, namespace: str) -> ConfigMapPlace:
        """With what Kubernetes gives every pod that has a service account."""
        return cls("https://kubernetes.default.svc", namespace, _ACCOUNT / "token", _ACCOUNT / "ca.crt")

    def read(self) -> Snapshot:
        found = self._ask("GET", None)
        try:
            text = found["data"][FILE]
        except (KeyError, TypeError):
            raise PlaceError(f"ConfigMap {CONFIG_MAP} has no {FILE}; apply the component canary first") from None
        metadata = found["metadata"]
        annotation = (metadata.get("annotations") or {}).get(ANNOTATION, "")
        state = _state(annotation, f"the annotation {ANNOTATION} of ConfigMap {CONFIG_MAP}")
        table = _table(text.encode(), f"{FILE} in ConfigMap {CONFIG_MAP}")
        return Snapshot(table, state, str(metadata["resourceVersion"]), digest(text.encode()))

    def write(self, before: Snapshot, table: RoutingTable, state: State) -> None:
        patch: dict[str, Any] = {
            "metadata": {"resourceVersion": before.version, "annotations": {ANNOTATION: state.dump()}}
        }
        if table != before.table:
            patch["data"] = {FILE: render(table)}
        self._ask("PATCH", patch)

    def _ask(self, method: str, patch: dict[str, Any] | None) -> Any:
        headers = {"Accept": "application/json"}
        try:
            if self._token is not None:
                headers["Authorization"] = f"Bearer {self._token.read_text().strip()}"
            data = None
            if patch is not None:
                headers["Content-Type"] = "application/merge-patch+json"
                data = json.dumps(patch).encode()
            request = urllib.request.Request(self._url, data, headers, method=method)  # noqa: S310  (an API server)
            context = ssl.create_default_context(cafile=None if self._ca is None else str(self._ca))
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
            )
            with opener.open(request, timeout=_TIMEOUT) as answer:
                return json.loads(answer.read(_LIMIT))
        except urllib.error.HTTPError as error:
            if error.code == 409:
                raise ConflictError(f"ConfigMap {CONFIG_MAP} has changed meanwhile") from error
            raise PlaceError(f"the API server answers {error.code} {error.reason}") from error
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            raise PlaceError(f"the API server cannot be asked: {error}") from error


def _without_waiting(path: str, flags: int) -> int:
    """To open a pipe would wait for whoever reads, for ever."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _table(data: bytes, where: str) -> RoutingTable:
    try:
        return parse_config(Path(FILE), data, RoutingTable)
    except ConfigFileError as error:
        raise PlaceError(f"{where} is no routing table: {str(error).removeprefix(f'{FILE}: ')}") from error


def _state(text: str, where: str) -> State:
    try:
        return load(text)
    except StateError as error:
        # Not an empty one in its place: what is judged, and who set the present weight, is in it.
        raise PlaceError(
            f"{where} is no state of a judge ({error}); nothing is judged until it is mended or removed, with which "
            "the judge begins anew at the weight that it finds"
        ) from error


def _new(path: Path) -> Path:
    """What will take its place: who loses power has the old one or it, both whole."""
    return path.with_name(f".{path.name}.new")


def _write(path: Path, text: str, like: Path) -> None:
    """On the disk, with the permissions of `like`: gateways may run as another user."""
    path.unlink(missing_ok=True)
    path.write_text(text)
    shutil.copymode(like, path)
    flush(path)


def _put(new: Path, path: Path) -> None:
    new.replace(path)
