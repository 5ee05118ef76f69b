"""The whole of it: `make images-check`. It builds for minutes, as root."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest

from deploy.images import check
from deploy.images.tool import ImagesError
from tests.deploy.manifests import ROOT


@pytest.mark.images
@pytest.mark.timeout(3600)
@pytest.mark.skipif(
    os.environ.get("FERRY_IMAGES") != "1",
    reason="builds images and runs them, as root: set FERRY_IMAGES=1 (and FERRY_IMAGES_FLAGS, such as --lend-pip)",
)
def test_ferry_runs_from_its_images_within_the_limits_of_its_manifests() -> None:
    flags = shlex.split(os.environ.get("FERRY_IMAGES_FLAGS", ""))
    done = subprocess.run(
        [sys.executable, "-m", "deploy.images.check", *flags], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert done.stdout.endswith("images-check: ok\n")


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert check.main([]) == 1
    assert "needs root" in capsys.readouterr().err


def test_what_is_missing_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ImagesError, match=r"needs buildah, .*: apt install buildah podman .*debootstrap"):
        check.needs(bootstrap=True)
