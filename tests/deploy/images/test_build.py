"""How images are built: which commands, and what is lent to them."""

from __future__ import annotations

from pathlib import Path

from deploy.images import host_pip
from deploy.images.build import IMAGES, steps, version
from tests.deploy.manifests import ROOT


def test_every_image_is_built_once_and_tagged_with_the_package_s_version() -> None:
    commands = list(steps(IMAGES, version()))
    tags = [word for command in commands for word in command if word.startswith("--tag=")]
    assert tags == [f"--tag=localhost/ferry/{image}:{version()}" for image in IMAGES]
    assert f'version = "{version()}"' in (ROOT / "pyproject.toml").read_text()


def test_what_is_lent_to_pip_touches_no_stage_that_an_image_inherits() -> None:
    lent = "--volume=/a:/etc/pip.conf:ro"
    with_it = [command for command in steps(IMAGES, "1", (lent,)) if lent in command]
    assert with_it
    for command in with_it:
        (target,) = (word.removeprefix("--target=") for word in command if word.startswith("--target="))
        dockerfile = (ROOT / "deploy/images/Dockerfile").read_text()
        assert f"FROM {target} AS" not in dockerfile
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
