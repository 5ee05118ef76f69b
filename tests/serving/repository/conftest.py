"""A server of models, and what it serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.repository.archives import packed
from tests.serving.repository.http_server import Server
from tests.tiny_models import classifier_graph, classifier_manifest, publish


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    """Of one model, `tiny` 1."""
    source = tmp_path / "source"
    source.mkdir()
    publish(source, classifier_manifest(), classifier_graph())
    return packed(source)
