"""A user without a home, as a container has with a number that nobody has named: models start all the same."""

from __future__ import annotations

import pwd
from pathlib import Path
from typing import NoReturn

import pytest

from serving.models import measuring, tuning
from serving.models.backends.engines import EngineCache, EngineError
from serving.models.backends.gpu import GpuSettings
from serving.models.tuning import Candidate, Measurement
from serving.repository.repository import ModelRepository, StoredModel
from serving.user_cache import user_cache
from tests.tiny_models import classifier_graph, classifier_manifest, publish

FOUND = [Measurement(Candidate("onnxruntime", "fp32", 1, 1), 100, 10, 0.0)]


def nobody(number: int) -> NoReturn:
    raise KeyError(number)


@pytest.fixture(autouse=True)
def _no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


@pytest.fixture
def stored(tmp_path: Path) -> StoredModel:
    publish(tmp_path / "models", classifier_manifest(), classifier_graph())
    return ModelRepository(tmp_path / "models").open("tiny", "1")


def test_what_is_measured_is_kept_beside_the_model_or_not_at_all(stored: StoredModel, tmp_path: Path) -> None:
    elsewhere = StoredModel(stored.manifest, tmp_path / "a file")
    elsewhere.directory.write_text("not a folder")
    assert (tuning.read(elsewhere), tuning.write(elsewhere, FOUND)) == ([], None)
    assert tuning.write(stored, FOUND) is not None
    assert tuning.read(stored) == FOUND
    with measuring.alone(0):
        pass


def test_engines_want_a_folder_by_name(tmp_path: Path) -> None:
    assert GpuSettings().engines is None
    with pytest.raises(EngineError, match="--engine-cache"):
        EngineCache.of(GpuSettings())
    assert GpuSettings(engine_cache=tmp_path).engines == tmp_path


def test_a_cache_that_is_named_needs_no_home(
    stored: StoredModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert user_cache() == tmp_path / "cache" / "ferry"
    assert tuning.read(stored) == []
    assert GpuSettings().engines == tmp_path / "cache" / "ferry" / "engines"


def test_an_empty_name_is_none_and_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert user_cache() is None
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_cache() == tmp_path / ".cache" / "ferry"
    assert GpuSettings().engines == tmp_path / ".cache" / "ferry" / "engines"
