"""Promotion and rollback: the label moves to versions that answer, and back; a running host follows without a miss."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from modelkit.publishing.promotion import PromotionError, promote, rollback
from serving.errors import NotFoundError
from serving.models.host import ModelHost
from serving.repository.manifest import Task
from serving.repository.policy import parse_policies
from serving.repository.repository import InvalidModelError, ModelRepository
from serving.repository.write import WriteError, alone
from serving.settings import ModelServiceSettings
from tests.full_disk import full_disk
from tests.tiny_models import SIDE, classifier_graph, classifier_manifest, publish

SLOPES = {"1": (0, 0, 0, 4, 0, 0, 0), "2": (4, 0, 0, 0, 0, 0, 0), "3": (0, 4, 0, 0, 0, 0, 0)}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for version, slope in SLOPES.items():
        publish(tmp_path, classifier_manifest(version=version), classifier_graph(slope))
    return tmp_path


def stable(models: Path) -> str:
    return ModelRepository(models).open("tiny", "stable").manifest.version


def test_without_a_label_the_first_is_stable(models: Path) -> None:
    assert stable(models) == "1"


def test_promotion_moves_the_label_and_rollback_takes_it_back(models: Path) -> None:
    assert promote(models, "tiny", "3") == ("1", "3")
    assert promote(models, "tiny", "2") == ("3", "2")
    assert stable(models) == "2"
    assert rollback(models, "tiny") == ("2", "3")
    assert rollback(models, "tiny") == ("3", "1")
    assert stable(models) == "1"
    with pytest.raises(PromotionError, match="nothing good was stable before 1"):
        rollback(models, "tiny")


def test_rollback_passes_over_what_would_not_answer(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    promote(models, "tiny", "2")
    promote(models, "tiny", "3")
    (models / "tiny" / "2" / "model.onnx").write_bytes(b"damaged")
    assert rollback(models, "tiny") == ("3", "1")
    assert "tiny 2 is passed over" in caplog.text


def test_a_version_published_later_waits_for_its_promotion(models: Path) -> None:
    promote(models, "tiny", "2")
    publish(models, classifier_manifest(version="4"), classifier_graph(SLOPES["1"]))
    assert stable(models) == "2"
    assert promote(models, "tiny", "latest") == ("2", "4")


def test_promoting_twice_keeps_the_way_back(models: Path) -> None:
    promote(models, "tiny", "1")
    promote(models, "tiny", "2")
    assert promote(models, "tiny", "2") == ("2", "2")
    assert rollback(models, "tiny") == ("2", "1")


def test_rollback_passes_over_versions_that_are_gone(models: Path) -> None:
    for version in ("1", "2", "3"):
        promote(models, "tiny", version)
    (models / "tiny" / "2" / "manifest.json").unlink()
    assert rollback(models, "tiny") == ("3", "1")


def test_what_does_not_answer_is_not_promoted(models: Path) -> None:
    promote(models, "tiny", "1")
    (models / "tiny" / "2" / "model.onnx").write_bytes(b"something else")
    with pytest.raises(InvalidModelError, match="not what its manifest says"):
        promote(models, "tiny", "2")
    publish(models, classifier_manifest(version="4"), classifier_graph((1, 2)))
    with pytest.raises(InvalidModelError, match="7 label"):
        promote(models, "tiny", "4")
    with pytest.raises(NotFoundError, match="no version 9"):
        promote(models, "tiny", "9")
    assert stable(models) == "1"


def test_numbers_that_are_not_finite_are_not_promoted(models: Path) -> None:
    publish(models, classifier_manifest(version="4"), classifier_graph((float("nan"),) * 7))
    with pytest.raises(InvalidModelError, match="not finite"):
        promote(models, "tiny", "4")


def test_on_a_full_disk_the_label_stays_where_it_was(models: Path) -> None:
    promote(models, "tiny", "1")
    promote(models, "tiny", "2")
    before = sorted(path.name for path in (models / "tiny").iterdir())
    with full_disk(10):
        with pytest.raises(WriteError, match="it stays where it was"):
            promote(models, "tiny", "3")
        with pytest.raises(WriteError, match="it stays where it was"):
            rollback(models, "tiny")
    assert stable(models) == "2"
    assert sorted(path.name for path in (models / "tiny").iterdir()) == before
    assert rollback(models, "tiny") == ("2", "1")


def test_two_at_once_do_not_mix(models: Path) -> None:
    with alone(models / "tiny"), pytest.raises(WriteError, match="try again"):
        promote(models, "tiny", "3")
    assert stable(models) == "1"


@pytest.mark.parametrize(
    "content", ["", "[]", '{"stable": "../1"}', '{"stable": 1}', '{"owner": "me"}', '{"stable": "' + "1" * 9999 + '"}']
)
async def test_a_broken_label_is_refused_and_serving_goes_on(models: Path, content: str) -> None:
    promote(models, "tiny", "1")
    host = await _host(models)
    try:
        (models / "tiny" / "labels.json").write_text(content)
        with pytest.raises(InvalidModelError, match="labels of model tiny"):
            promote(models, "tiny", "2")
        await host.refresh()
        assert await _ask(host) == ("1", 3)
    finally:
        await host.stop()


async def test_a_running_host_follows_promotion_and_rollback_without_a_failed_request(models: Path) -> None:
    promote(models, "tiny", "1")
    host = await _host(models)
    answers: list[tuple[str, int]] = []
    running = True

    async def caller() -> None:
        while running:
            answers.append(await _ask(host))

    callers = [asyncio.create_task(caller()) for _ in range(8)]
    try:
        for move in (lambda: promote(models, "tiny", "2"), lambda: rollback(models, "tiny")):
            await asyncio.to_thread(move)
            await host.refresh()
            seen = len(answers)
            async with asyncio.timeout(30):
                while len(answers) < seen + 50:
                    await asyncio.sleep(0)
        running = False
        await asyncio.gather(*callers)
    finally:
        await host.stop()
    column = {version: int(np.argmax(slope)) for version, slope in SLOPES.items()}
    assert all(best == column[version] for version, best in answers), "an answer names the version that gave it"
    order = [version for i, (version, _) in enumerate(answers) if i == 0 or answers[i - 1][0] != version]
    assert [order[0], order[-1]] == ["1", "1"]
    assert "2" in order


async def test_a_promoted_version_that_goes_bad_leaves_the_served_one_in_place(models: Path) -> None:
    promote(models, "tiny", "1")
    host = await _host(models)
    try:
        (models / "tiny" / "labels.json").write_text(json.dumps({"stable": "77"}))
        await host.refresh()
        assert (await _ask(host))[0] == "1"
    finally:
        await host.stop()


async def _host(models: Path) -> ModelHost:
    settings = ModelServiceSettings(models_dir=models, backend="onnxruntime", threads=1, max_batch=4, reload_interval=0)
    host = ModelHost(ModelRepository(models), parse_policies("tiny"), Task.CLASSIFY, settings)
    await host.start()
    return host


async def _ask(host: ModelHost) -> tuple[str, int]:
    with host.use() as model:
        result = await model.batcher.submit(np.ones((1, 1, SIDE, SIDE), np.float32), 1e9)
        return model.version().version, int(result.outputs["logits"].argmax())
