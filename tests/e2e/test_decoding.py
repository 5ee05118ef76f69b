"""A detector as the manifests configure it stays below their memory limit, whatever pictures it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from benchmarks.decoding.measure import forget_peak, status
from benchmarks.decoding.pictures import KINDS
from deploy.capacity.quantity import quantity
from ferry.transport import channel_options
from ferry.v1 import detector_pb2, detector_pb2_grpc
from tests.processes import ROOT, SERVING, free_port, health, process, until

SIDE = 6320
"""Squares just below 40 megapixels."""
LARGEST = 10 << 20
DEADLY = (
    "WebP lossless, alpha",
    "WebP animated",
    "JPEG progressive CMYK",
    "JPEG CMYK",
    "PNG alpha, interlaced",
    "PNG 16 bit, alpha",
    "PNG grey, alpha",
    "GIF transparent",
    "BMP run lengths",
    "TIFF deflate, strip",
    "TIFF deflate 16 bit alpha, strip",
)
"""Of each format the kinds that take most, none of more than 10 MiB."""
DEADLINE = 240.0


class Detector:
    """One that runs with the manifest's settings."""

    def __init__(self, pid: int, port: int, limit: int) -> None:
        self.pid, self.port, self.limit = pid, port, limit

    def send(self, images: list[bytes], callers: int) -> list[grpc.StatusCode]:
        """What the calls ended with, sent by so many callers at once."""
        options = channel_options("test")
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", options=options) as channel:
            stub = detector_pb2_grpc.DetectorStub(channel)

            def detect(image: bytes) -> grpc.StatusCode:
                request = detector_pb2.DetectRequest(image=image, crop_size=64, crop_margin=0.06)
                try:
                    stub.Detect(request, timeout=DEADLINE)
                except grpc.RpcError as error:
                    return error.code()  # type: ignore[attr-defined,no-any-return]
                return grpc.StatusCode.OK

            with ThreadPoolExecutor(callers) as pool:
                return list(pool.map(detect, images))


def manifest() -> tuple[dict[str, str], int]:
    """Environment and memory limit (bytes) of the detector's only container."""
    workload: dict[str, Any] = yaml.safe_load((ROOT / "deploy/k8s/base/detector.yaml").read_text("utf-8"))
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    environment = {item["name"]: item["value"] for item in container["env"]}
    return environment, int(quantity(container["resources"]["limits"]["memory"]))


@pytest.fixture(scope="module")
def detector(models_dir: Path) -> Iterator[Detector]:
    environment, limit = manifest()
    port = free_port()
    # One thread, as with the manifest's limit of one CPU.
    changes = {"FERRY_PORT": str(port), "FERRY_MODELS_DIR": str(models_dir), "FERRY_THREADS": "1"}
    with process(["-m", "services.detector"], **(environment | changes)) as started:
        until(lambda: health(port, "ferry.v1.Detector") == SERVING, 120, "a detector that serves")
        yield Detector(started.pid, port, limit)
        assert started.poll() is None


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", DEADLY)
def test_no_picture_takes_the_detector_near_its_limit(detector: Detector, name: str) -> None:
    image = KINDS[name](SIDE, SIDE, 6)
    assert len(image) <= LARGEST
    forget_peak(detector.pid)
    (outcome,) = detector.send([image], callers=1)
    assert outcome in {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}
    assert status("VmHWM", detector.pid) < 0.9 * detector.limit


@pytest.mark.timeout(600)
def test_several_at_once_take_turns(detector: Detector) -> None:
    images = [KINDS[name](SIDE, SIDE, 6) for name in ("WebP lossless, alpha", "PNG alpha, interlaced", "JPEG CMYK")]
    forget_peak(detector.pid)
    outcomes = detector.send(images * 3, callers=9)
    assert set(outcomes) == {grpc.StatusCode.OK}
    assert status("VmHWM", detector.pid) < 0.9 * detector.limit


@pytest.mark.timeout(600)
def test_memory_comes_back(detector: Detector) -> None:
    small = KINDS["JPEG"](640, 480, 1)
    detector.send([small] * 3, callers=1)
    rest = status("VmRSS", detector.pid)
    detector.send([KINDS["WebP lossless, alpha"](SIDE, SIDE, 6)] * 3, callers=3)
    detector.send([small], callers=1)
    assert status("VmRSS", detector.pid) < 1.3 * rest
