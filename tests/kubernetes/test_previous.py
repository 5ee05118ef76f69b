"""What an earlier release is built from is what it had, not what there is now."""

from __future__ import annotations

import pytest

from deploy.images.build import CPU, ROOT
from deploy.images.tool import ImagesError
from tests.kubernetes import previous

OLD = """
FROM ${BASE} AS python
FROM python AS gateway-venv
FROM python AS inference-venv
FROM scratch AS models
FROM python AS gateway
FROM python AS detector
FROM ${BASE} AS redis
"""


def test_stages_that_a_release_did_not_have_yet_are_left_out() -> None:
    old = previous.of(OLD)
    assert old.images == ("gateway", "redis", "detector")
    assert old.venvs == ("gateway-venv", "inference-venv")


def test_this_revision_gives_every_image_of_overlay_local() -> None:
    now = previous.of((ROOT / CPU.path).read_text())
    assert {*now.images} == {"gateway", "ensembler", "detector", "classifier", "redis"}


def test_a_repository_without_a_release_asks_for_a_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(command: tuple[str, ...]) -> str:
        raise ImagesError(f"{command[0]} failed with 128:\nfatal: No names found")

    monkeypatch.setattr(previous, "call", none)
    with pytest.raises(ImagesError, match="name a revision, --previous REVISION"):
        previous.newest()
