"""A writer that is killed, at whatever step, leaves what was served before or what it was to bring; never a ruin."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from modelkit.publishing.promotion import PromotionError
from serving.repository.repository import ModelRepository
from tests.killed_writers import WRITERS
from tests.serving.repository.archives import packed
from tests.tiny_models import classifier_graph, classifier_manifest, publish

HERE = Path(__file__).parents[3]
AFTER = {"unpack": "2", "publish": "1", "promote": "2", "rollback": "1"}
"""What is served when the writer was not killed."""


@pytest.mark.parametrize("writer", WRITERS)
def test_killed_at_any_step(tmp_path: Path, writer: str) -> None:
    root, file = tmp_path / "before", tmp_path / "file"
    publish(root, classifier_manifest(version="1"), classifier_graph())
    before = "1"
    if writer in {"promote", "rollback"}:
        publish(root, classifier_manifest(version="2"), classifier_graph())
    if writer == "rollback":
        before = "2"
        (root / "tiny" / "labels.json").write_text(json.dumps({"stable": "2", "history": ["1"]}))
    source = publish(tmp_path / "source", classifier_manifest(version="2"), classifier_graph((4, 0, 0, 0, 0, 0, 0)))
    (source.parent / "labels.json").write_text('{"stable": "2"}')
    file.write_bytes(packed(tmp_path / "source") if writer == "unpack" else classifier_graph())

    command = [sys.executable, "-m", "tests.killed_writers", writer, str(tmp_path), str(file)]
    subprocess.run(command, check=True, timeout=100, cwd=HERE)

    left = sorted(int(folder.name) for folder in tmp_path.iterdir() if folder.name.isdecimal())
    assert len(left) > 5
    for step in left:
        repository = ModelRepository(tmp_path / str(step))
        served = repository.stable("tiny")
        assert served in {before, AFTER[writer]}
        for version in {str(served), *repository.versions("tiny")}:
            assert repository.open("tiny", version), "everything that shows can be served"
    assert served == AFTER[writer]
    for step in (left[len(left) // 2], left[-2]):
        with suppress(PromotionError):  # it had gone back already
            WRITERS[writer](tmp_path / str(step), file)
        assert [path.name for path in (tmp_path / str(step)).iterdir()] == ["tiny"], "what was left is cleared"
