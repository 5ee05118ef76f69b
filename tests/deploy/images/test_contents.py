"""What is in an image: found, named, and refused where it must not be there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.images.base import slim
from deploy.images.contents import Contents, read
from deploy.images.pins import packages, unpinned
from deploy.images.sbom import sbom, write
from deploy.images.sizes import LIMITS, size_rows, table, too_large
from deploy.images.unwanted import unwanted

SITE = "opt/ferry/lib/python3.11/site-packages"
FILES = {
    "var/lib/dpkg/status": """\
Package: libstdc++6
Status: install ok installed
Architecture: amd64
Version: 1:12.2.0-14+deb12u1
Description: GNU Standard C++ Library v3
 of several lines
 .
 with a dot

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

""",
    f"{SITE}/prometheus_client-0.26.0.dist-info/METADATA": (
        "Name: prometheus_client\nVersion: 0.26.0\nLicense-Expression: Apache-2.0 AND BSD-2-Clause\n\ntext\n"
    ),
    f"{SITE}/old-1.dist-info/METADATA": "Name: old\nVersion: 1\nClassifier: License :: OSI Approved :: MIT License\n",
    "models/detector/1/manifest.json": (
        '{"name": "detector", "version": "1", "license": "AGPL-3.0", "description": "Finds faces.",'
        ' "files": {"model.onnx": "' + "0" * 64 + '"}}'
    ),
    "usr/bin/python3.11": "",
}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "usr/bin/python").symlink_to("/nowhere")
    return tmp_path


def document(found: Contents) -> dict:
    return sbom("localhost/ferry/detector:0.1.0", found, datetime(2026, 1, 2, tzinfo=UTC))


def test_every_file_and_link_is_listed_and_links_are_not_followed(image: Path) -> None:
    assert set(read(image).paths) == {*FILES, "bin", "usr/bin/python"}


def test_a_bill_of_materials_names_packages_and_models_with_their_licences(image: Path) -> None:
    found = {item["name"]: item for item in document(read(image))["components"]}
    assert found.keys() == {"libstdc++6", "prometheus-client", "old", "detector"}
    assert found["libstdc++6"]["purl"] == "pkg:deb/debian/libstdc%2B%2B6@1%3A12.2.0-14%2Bdeb12u1?arch=amd64"
    assert found["prometheus-client"]["licenses"] == [{"expression": "Apache-2.0 AND BSD-2-Clause"}]
    assert found["old"]["licenses"] == [{"license": {"name": "MIT License"}}]
    assert found["detector"]["type"] == "machine-learning-model"
    assert found["detector"]["licenses"] == [{"expression": "AGPL-3.0"}]


def test_a_bill_of_materials_is_valid_cyclonedx(image: Path) -> None:
    path = write("localhost/ferry/detector:0.1.0", read(image), image / "out")
    assert path.name == "detector.cdx.json"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(path.read_text()) is None


def test_python_packages_are_compared_with_the_pins(image: Path) -> None:
    found = read(image)
    assert packages(found) == {"prometheus-client": "0.26.0", "old": "1"}
    assert unpinned(found, "# pins\nprometheus-client==0.26.0\nold==2\n") == ["old 1"]


@pytest.mark.parametrize(
    "path",
    [
        "usr/bin/gcc",
        "usr/bin/x86_64-linux-gnu-gcc-12",
        "usr/bin/g++-12",
        "usr/bin/cc",
        "usr/bin/ld",
        "usr/bin/x86_64-linux-gnu-ld.bfd",
        "usr/lib/gcc/x86_64-linux-gnu/12/cc1plus",
        f"{SITE}/torch/__init__.py",
        f"{SITE}/torch-2.13.0+cpu.dist-info/METADATA",
        f"{SITE}/timm/models/vit.py",
        f"{SITE}/ultralytics",
        f"{SITE}/pip/__main__.py",
        "usr/lib/python3/dist-packages/setuptools/__init__.py",
        "usr/lib/libtorch_cpu.so",
        "etc/pip.conf",
        "root/.config/pip/pip.conf",
    ],
)
def test_what_must_not_be_in_an_image_is_found(path: str) -> None:
    assert unwanted([path]) == [path]


@pytest.mark.parametrize(
    "path",
    [
        "usr/bin/ld.so",
        "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "usr/lib/x86_64-linux-gnu/libgcc_s.so.1",
        "usr/share/gcc/python/printers.py",
        f"{SITE}/openvino/torch/__init__.py",
        f"{SITE}/pipeline.py",
        f"{SITE}/services/ensembler/pipeline.py",
        "usr/bin/python3.11",
        "usr/lib/python3.11/pipes.py",
        "var/lib/dpkg/info/gcc-12-base:amd64.list",
    ],
)
def test_what_only_looks_like_it_is_not(path: str) -> None:
    assert unwanted([path]) == []


def test_an_image_has_to_be_smaller_than_its_limit() -> None:
    sizes = {"gateway": LIMITS["gateway"], "detector": 390_400_000, "redis": 90_000_000}
    assert too_large(sizes) == ["gateway"]
    text = table(("image", "size", "limit", ""), size_rows(sizes)).splitlines()
    assert text[2].split() == ["gateway", "200", "MB", "<", "200", "MB", "too", "large"]
    assert text[3].split() == ["detector", "390", "MB", "<", "450", "MB", "ok"]
    assert text[4].split() == ["redis", "90", "MB"]


def test_the_base_loses_manuals_and_keeps_licences(tmp_path: Path) -> None:
    kept, gone = "usr/share/doc/libc6/copyright", "usr/share/doc/libc6/changelog.gz"
    folders = (
        "usr/share/man/man1",
        "usr/share/locale/de",
        "var/cache/apt",
        "etc/apt",
        "etc/dpkg/dpkg.cfg.d",
        "usr/sbin",
    )
    for folder in (*folders, "usr/share/doc/libc6"):
        (tmp_path / folder).mkdir(parents=True)
    for path in (kept, gone, "var/cache/apt/pkgcache.bin", "usr/share/man/man1/ls.1"):
        (tmp_path / path).write_text("text")
    slim(tmp_path)
    assert (tmp_path / kept).exists()
    assert not any((tmp_path / path).exists() for path in (gone, "var/cache/apt/pkgcache.bin", "usr/share/man/man1"))
    assert "bookworm-security" in (tmp_path / "etc/apt/sources.list").read_text()
