"""Names a release in an overlay: images, model versions and their labels, for one track.

    python -m deploy.release --version 0.2.0 --overlay deploy/k8s/overlays/yours [--track canary] [--gpu]
        [--model arcface=2]

writes `release/kustomization.yaml` (or `release-canary/`) into the overlay: a component that the overlay lists once and
that is written anew with every release. Commit it: what is deployed is then what is committed.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path

from serving.repository.manifest import VERSION_PATTERN
from serving.repository.repository import ModelRepository

MODELS = Path(__file__).parents[1] / "models"
TRACKS = ("stable", "canary")
_TAG = re.compile(r"[\w][\w.-]{0,127}")
_REGISTRY = re.compile(r"[\w.-]+(:\d+)?(/[\w.-]+)*")


@dataclass(frozen=True, slots=True)
class Component:
    """A Deployment of the base.

    Attributes:
        name: of the Deployment.
        image: its last part.
        model: that it serves; empty: none.
        variable: that says so.
    """

    name: str
    image: str
    model: str = ""
    variable: str = ""


COMPONENTS = (
    Component("gateway", "gateway"),
    Component("ensembler", "ensembler"),
    Component("detector", "detector", "detector", "FERRY_MODEL"),
    Component("classifier-efficientnet", "classifier", "efficientnet", "FERRY_MODELS"),
    Component("classifier-arcface", "classifier", "arcface", "FERRY_MODELS"),
)


def of_track(track: str) -> tuple[Component, ...]:
    """The canary has no gateway of its own."""
    return COMPONENTS if track == "stable" else tuple(c for c in COMPONENTS if c.name != "gateway")


def folder(track: str) -> str:
    """Beside the overlay's kustomization.yaml."""
    return "release" if track == "stable" else f"release-{track}"


def render(track: str, version: str, registry: str, models: dict[str, str], *, gpu: bool = False) -> str:
    """The component's kustomization.yaml.

    Args:
        track: stable or canary.
        version: tag of the images.
        registry: what comes before an image's last part.
        models: version by name of every model.
        gpu: models run in the images for GPUs.
    """
    suffix = "" if track == "stable" else f"-{track}"
    lines = [
        f"# Release {version} on the track {track}; written by `make release`, which writes it anew.",
        "apiVersion: kustomize.config.k8s.io/v1alpha1",
        "kind: Component",
        "patches:",
    ]
    for component in of_track(track):
        model = models.get(component.model, "")
        image = component.image + ("-gpu" if gpu and component.model else "")
        cause = f"release {version}" + (f", {component.model} {model}" if model else "")
        lines += [
            # By label: the canary's objects were made from stable's, and kustomize finds them by the former name too.
            "  - target:",
            "      kind: Deployment",
            f"      labelSelector: app.kubernetes.io/component={component.name}{suffix}",
            "    patch: |-",
            "      apiVersion: apps/v1",
            "      kind: Deployment",
            "      metadata:",
            f"        name: {component.name}{suffix}",
            "        annotations:",
            f"          kubernetes.io/change-cause: {json.dumps(cause)}",
            "      spec:",
            "        template:",
            "          metadata:",
            "            labels:",
            f"              app.kubernetes.io/version: {json.dumps(version)}",
            *([f'              ferry/model-version: "{model}"'] if model else []),
            "          spec:",
            "            containers:",
            "              - name: ferry",
            f"                image: {registry}/{image}:{version}",
        ]
        if model:
            lines += [
                "                env:",
                f"                  - name: {component.variable}",
                f'                    value: "{component.model}:{model}"',
            ]
    return "\n".join(lines) + "\n"


def model_versions(chosen: list[str], models_dir: Path = MODELS) -> dict[str, str]:
    """The version of every model: as chosen (`arcface=2`), else the one promoted in the repository of models.

    Raises:
        SystemExit: a model or a version is not there; says what is.
    """
    repository = ModelRepository(models_dir)
    wanted = dict(_pair(text) for text in chosen)
    found = {}
    for name in (component.model for component in COMPONENTS if component.model):
        version = wanted.pop(name, None) or repository.stable(name)
        if version not in repository.versions(name):
            have = ", ".join(repository.versions(name)) or "none"
            raise SystemExit(f"--model {name}: there is no version {version} in {models_dir}; versions there: {have}")
        found[name] = str(version)
    if wanted:
        raise SystemExit(f"--model {next(iter(wanted))}: no service serves it; choose from {', '.join(found)}")
    return found


def write(overlay: Path, track: str, text: str) -> list[str]:
    """Writes the component into the overlay; returns what is left for a person to do.

    Raises:
        SystemExit: there is no overlay.
    """
    listing = overlay / "kustomization.yaml"
    if not listing.is_file():
        raise SystemExit(f"--overlay: there is no {listing}; docs/operations.md shows how to make an overlay")
    target = overlay / folder(track) / "kustomization.yaml"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text)
    overlay_text, left = listing.read_text(), []
    if not re.search(rf"^\s*- (\./)?{folder(track)}/?\s*$", overlay_text, re.MULTILINE):
        left.append(
            f"add `- {folder(track)}` to the end of `components:` in {listing}, before argo-rollouts if it is there"
        )
    if re.search(r"^images:", overlay_text, re.MULTILINE):
        left.append(f"remove `images:` from {listing}: it comes after the release and would overrule it")
    return left


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.release", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--version", required=True, help="tag of the images")
    parser.add_argument("--overlay", required=True, type=Path, help="folder of the overlay")
    parser.add_argument("--track", choices=TRACKS, default="stable")
    parser.add_argument("--gpu", action="store_true", help="the images of `make images-gpu`, for overlay gpu")
    parser.add_argument("--registry", default="localhost/ferry", help="what comes before an image's last part")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=VERSION", help="by default the promoted")
    chosen = parser.parse_args(arguments)
    if not _TAG.fullmatch(chosen.version):
        parser.error(f"--version: {chosen.version!r} is no tag")
    if not _REGISTRY.fullmatch(chosen.registry):
        parser.error(f"--registry: {chosen.registry!r} is no registry")
    models = model_versions(chosen.model)
    text = render(chosen.track, chosen.version, chosen.registry, models, gpu=chosen.gpu)
    left = write(chosen.overlay, chosen.track, text)
    print(f"wrote {chosen.overlay / folder(chosen.track)}: {', '.join(f'{n} {v}' for n, v in models.items())}")
    for line in left:
        print(f"now {line}")
    print(f"then: kubectl diff -k {chosen.overlay}; kubectl apply -k {chosen.overlay}")


def _pair(text: str) -> tuple[str, str]:
    name, _, version = text.partition("=")
    if not re.fullmatch(VERSION_PATTERN, version):
        raise SystemExit(f"--model {text}: write NAME=VERSION, the version a decimal number")
    return name, version


if __name__ == "__main__":
    main()
