"""How images are built: which commands, and what is lent to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.images import host_pip
from deploy.images.build import CPU, GPU, Dockerfile, steps, version
from tests.deploy.manifests import ROOT

each = pytest.mark.parametrize("dockerfile", [CPU, GPU], ids=("CPU", "GPU"))


@each
def test_every_image_is_built_once_and_tagged_with_the_package_s_version(dockerfile: Dockerfile) -> None:
    commands = list(steps(dockerfile, version()))
    tags = [word for command in commands for word in command if word.startswith("--tag=")]
    assert tags == [f"--tag=localhost/ferry/{image}:{version()}" for image in dockerfile.images]
    assert f'version = "{version()}"' in (ROOT / "pyproject.toml").read_text()


@each
def test_what_is_lent_to_pip_touches_no_stage_that_an_image_inherits(dockerfile: Dockerfile) -> None:
    lent = "--volume=/a:/etc/pip.conf:ro"
    with_it = [command for command in steps(dockerfile, "1", (lent,)) if lent in command]
    assert with_it
    for command in with_it:
        (target,) = (word.removeprefix("--target=") for word in command if word.startswith("--target="))
        assert f"FROM {target} AS" not in (ROOT / dockerfile.path).read_text()
        assert not any(word.startswith("--tag=") for word in command)


def test_pip_s_own_precedence_is_kept() -> None:
    listing = ":env:.cert='/c'\nglobal.cert='/a'\nglobal.timeout='5'\ninstall.timeout='9'\ndownload.cert='/d'"
    assert host_pip.merged(listing) == {"cert": "/c", "timeout": "9"}


def test_files_that_pip_is_told_of_are_mounted_and_renamed(tmp_path: Path) -> None:
    bundle, index = tmp_path / "ca.crt", tmp_path / "mirror/simple"
    bundle.write_text("")
    index.mkdir(parents=True)
    inside, where = host_pip.mounts(
        {"cert": str(bundle), "extra-index-url": f"file://{index} https://example.com/simple", "timeout": "5"}
    )
    assert inside == {
        "cert": "/run/pip/0",
        "extra-index-url": "file:///run/pip/1/simple https://example.com/simple",
        "timeout": "5",
    }
    assert where == {bundle: Path("/run/pip/0"), index.parent: Path("/run/pip/1")}
