"""Software bills of materials: `python -m deploy.images.sbom --builder podman --out out/sbom IMAGE...`

One CycloneDX 1.6 document for each image: Debian's packages from dpkg's own record, Python's from their metadata, and
the models with their licences and digests.
"""

from __future__ import annotations

import argparse
import email
import json
import re
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deploy.images.contents import Contents, contents
from deploy.images.tool import ImagesError

Json = dict[str, Any]
_PLAIN = ".-~"
"""Characters that stay as they are in a package URL."""


def sbom(image: str, found: Contents, at: datetime) -> Json:
    """
    Args:
        image: `registry/name:tag`.
        found: what it holds.
        at: when it was looked at.

    Returns:
        The document.
    """
    name, _, tag = image.rpartition(":")
    components = sorted((*_debian(found), *_python(found), *_models(found)), key=lambda item: str(item["bom-ref"]))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": at.astimezone(UTC).isoformat(timespec="seconds"),
            "component": {"type": "container", "bom-ref": image, "name": name, "version": tag},
        },
        "components": components,
    }


def _debian(found: Contents) -> list[Json]:
    components = []
    for paragraph in found.texts.get("var/lib/dpkg/status", "").split("\n\n"):
        fields = email.message_from_string(paragraph)
        # A package that was removed stays on record.
        if not str(fields["Status"]).endswith(" installed"):
            continue
        name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
        purl = f"pkg:deb/debian/{quote(name, safe=_PLAIN)}@{quote(version, safe=_PLAIN)}?arch={architecture}"
        components.append(_component("library", purl, name, version))
    return components


def _python(found: Contents) -> list[Json]:
    components = []
    for path, text in found.texts.items():
        if not path.endswith("/METADATA"):
            continue
        fields = email.message_from_string(text)
        name, version = re.sub(r"[-_.]+", "-", fields["Name"]).lower(), fields["Version"]
        component = _component("library", f"pkg:pypi/{name}@{quote(version, safe=_PLAIN)}", name, version)
        if expression := fields["License-Expression"]:
            component["licenses"] = [{"expression": expression}]
        elif names := _licence_names(fields):
            component["licenses"] = [{"license": {"name": name}} for name in names]
        components.append(component)
    return components


def _licence_names(fields: Any) -> list[str]:
    """Of a package that gives no SPDX expression: its classifiers, or what it says freely in a line."""
    classifiers = [value for value in fields.get_all("Classifier", []) if value.startswith("License :: ")]
    if classifiers:
        return sorted({value.rpartition(" :: ")[2] for value in classifiers})
    text = str(fields["License"] or "").strip()
    return [text] if text and "\n" not in text else []


def _models(found: Contents) -> list[Json]:
    components = []
    for path, text in found.texts.items():
        if not path.endswith("/manifest.json"):
            continue
        manifest = json.loads(text)
        name, version = manifest["name"], str(manifest["version"])
        component = _component("machine-learning-model", f"pkg:generic/ferry-model-{name}@{version}", name, version)
        component["licenses"] = [{"expression": manifest["license"]}]
        component["description"] = manifest["description"]
        component["hashes"] = [{"alg": "SHA-256", "content": manifest["files"]["model.onnx"]}]
        components.append(component)
    return components


def _component(kind: str, purl: str, name: str, version: str) -> Json:
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}


def write(image: str, found: Contents, folder: Path) -> Path:
    """Writes `<name>.cdx.json` and returns where."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{image.rpartition('/')[2].partition(':')[0]}.cdx.json"
    path.write_text(json.dumps(sbom(image, found, datetime.now(UTC)), indent=1, ensure_ascii=False) + "\n")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.images.sbom", description=__doc__.partition("\n")[0])
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="such as localhost/ferry/gateway:0.1.0")
    parser.add_argument("--builder", choices=("docker", "podman", "buildah"), required=True, help="who has the images")
    parser.add_argument("--out", type=Path, default=Path("out/sbom"), help="folder for NAME.cdx.json")
    options = parser.parse_args(arguments)
    try:
        for image in options.images:
            print(write(image, contents(options.builder, image), options.out))
    except ImagesError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
