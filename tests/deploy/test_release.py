"""A release names images, model versions and labels of one track, and leaves the other alone."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from deploy.release import COMPONENTS, TRACKS, main, of_track
from tests.deploy.manifests import (
    K8S,
    MODELS_DIR,
    Json,
    beside_overlays,
    build,
    containers,
    ferry,
    labels,
    name,
    render,
    variables,
)

OVERLAY = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: ferry
resources:
  - ../cpu
components:
  - ../../components/canary
"""


@pytest.fixture
def overlay() -> Iterator[Path]:
    with beside_overlays() as path:
        (path / "kustomization.yaml").write_text(OVERLAY)
        yield path


def release(overlay: Path, *arguments: str) -> None:
    main(["--overlay", str(overlay), "--registry", "registry.example.com/ferry", *arguments])


def image(workload: Json) -> str:
    text: str = containers(workload)[0]["image"]
    return text


def test_the_services_are_those_of_the_base() -> None:
    found = set()
    for workload in ferry(render("cpu")):
        have = variables(workload, render("cpu"))
        variable = next((v for v in ("FERRY_MODEL", "FERRY_MODELS") if v in have), "")
        image_name = image(workload).rpartition("/")[2].partition(":")[0]
        found.add((name(workload), image_name, labels(workload).get("ferry/model", ""), variable))
    assert {(c.name, c.image, c.model, c.variable) for c in COMPONENTS} == found


@pytest.mark.parametrize("track", TRACKS)
def test_a_release_reaches_every_service_of_its_track_and_no_other(
    track: str, overlay: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release(overlay, "--version", "0.2.0", "--track", track)
    component = "release" if track == "stable" else "release-canary"
    assert f"add `- {component}`" in capsys.readouterr().out
    (overlay / "kustomization.yaml").write_text(f"{OVERLAY}  - {component}\n")
    release(overlay, "--version", "0.2.0", "--track", track)
    assert "add `- " not in capsys.readouterr().out
    objects = build(overlay)
    suffix = "" if track == "stable" else "-canary"
    reached = {c.name + suffix: c for c in of_track(track)}
    for workload in ferry(objects):
        if name(workload) not in reached:
            assert image(workload).endswith(":0.1.0")
            continue
        found = reached[name(workload)]
        assert image(workload) == f"registry.example.com/ferry/{found.image}:0.2.0"
        assert labels(workload)["app.kubernetes.io/version"] == "0.2.0"
        assert "release 0.2.0" in workload["metadata"]["annotations"]["kubernetes.io/change-cause"]
        if found.model:
            version = labels(workload)["ferry/model-version"]
            assert variables(workload, objects)[found.variable] == f"{found.model}:{version}"
            assert (MODELS_DIR / found.model / version / "manifest.json").is_file()


@pytest.mark.parametrize("track", TRACKS)
def test_on_gpus_models_run_in_the_images_for_gpus(track: str, overlay: Path) -> None:
    text = OVERLAY.replace("../cpu", "../gpu")
    release(overlay, "--version", "0.2.0", "--track", track, "--gpu")
    component = "release" if track == "stable" else "release-canary"
    (overlay / "kustomization.yaml").write_text(f"{text}  - {component}\n")
    suffix = "" if track == "stable" else "-canary"
    built = {name(workload): workload for workload in ferry(build(overlay))}
    for service in of_track(track):
        ending = "-gpu" if service.model else ""
        assert image(built[service.name + suffix]) == f"registry.example.com/ferry/{service.image}{ending}:0.2.0"


def test_images_that_would_overrule_it_are_pointed_at(overlay: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (overlay / "kustomization.yaml").write_text(f"{OVERLAY}  - release\nimages:\n  - name: x\n    newTag: y\n")
    release(overlay, "--version", "0.2.0")
    assert "remove `images:`" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "arcface=99"), "there is no version 99"),
        (("--model", "teapot=1"), "no service serves it"),
        (("--model", "arcface"), "NAME=VERSION"),
    ],
)
def test_what_is_not_there_cannot_be_released(overlay: Path, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        release(overlay, "--version", "0.2.0", *arguments)
    assert not (overlay / "release").exists()


@pytest.mark.parametrize("version", ["", "a b", "x" * 200, "0.2.0:1"])
def test_a_version_that_is_no_tag_is_refused(overlay: Path, version: str) -> None:
    with pytest.raises(SystemExit) as caught:
        release(overlay, "--version", version)
    assert caught.value.code == 2


def test_an_overlay_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"there is no .*kustomization\.yaml"):
        release(tmp_path, "--version", "0.2.0")


@pytest.mark.parametrize(("overlay", "says"), [("", "name your overlay"), ("none", "no none/kustomization.yaml")])
def test_make_asks_for_the_overlay_before_it_builds(overlay: str, says: str) -> None:
    command = ["make", "release", f"OVERLAY={overlay}", "BUILDER=false"]
    done = subprocess.run(command, cwd=K8S.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert says in done.stderr
    assert "building" not in done.stdout


def test_make_passes_everything_on() -> None:
    command = ["make", "--dry-run", "release", "VERSION=9.9.9", "OVERLAY=o", "TRACK=canary", "MODELS=arcface=2"]
    said = subprocess.run(command, cwd=K8S.parents[1], capture_output=True, text=True, check=True).stdout
    said = re.sub(r"\s*\\\s+", " ", said)
    assert "--version 9.9.9" in said
    assert "--overlay o --track canary --registry localhost/ferry --model arcface=2" in said
    assert "$image:9.9.9" in said.replace("$$", "$")
    assert "-gpu" not in said
    said = subprocess.run([*command, "GPU=1"], cwd=K8S.parents[1], capture_output=True, text=True, check=True).stdout
    assert "detector-gpu classifier-gpu" in said
    assert "--model arcface=2 --gpu" in said


def test_the_component_is_yaml(overlay: Path) -> None:
    release(overlay, "--version", "1", "--model", "arcface=1")
    document = yaml.safe_load((overlay / "release/kustomization.yaml").read_text())
    patches = [yaml.safe_load(patch["patch"]) for patch in document["patches"]]
    assert [patch["metadata"]["name"] for patch in patches] == [c.name for c in COMPONENTS]
