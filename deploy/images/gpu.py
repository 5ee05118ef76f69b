"""The pods for GPUs on a machine that shows them none: they say so, or serve from the CPU where they may."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Sequence

from deploy.images.manifests import Json
from deploy.images.podman import Podman
from deploy.images.tool import ImagesError

RESOURCE = "nvidia.com/gpu"
_NO_GPU = "no NVIDIA GPU with a driver is visible to this process"
_CHOICE = {"FERRY_DEVICE": "auto", "FERRY_BACKEND": "auto"}
_DRIVER = "libcuda.so.1"
"""The container toolkit brings it from the node."""
_LDD = """cd /opt/ferry/lib/python3.*/site-packages && ldd onnxruntime/capi/*_cuda.so
if ls tensorrt_libs/libnvinfer.so.* >/dev/null 2>&1; then ldd onnxruntime/capi/*_tensorrt.so; fi"""
_INTERVAL = 1.0


def asking(objects: Sequence[Json]) -> list[Json]:
    """The objects of an overlay, of its workloads only those that ask for a GPU."""
    return [item for item in objects if "template" not in item.get("spec", {}) or RESOURCE in _limits(item)]


def free_to_choose(objects: Sequence[Json]) -> list[Json]:
    """The same objects with device and backend left to the services, which then take the CPU where there is no GPU."""
    changed = copy.deepcopy(list(objects))
    for item in changed:
        if "template" in item.get("spec", {}):
            for variable in _container(item)["env"]:
                if variable["name"] in _CHOICE:
                    variable["value"] = _CHOICE[variable["name"]]
    return changed


def refused(podman: Podman, deadline: float) -> None:
    """Until every pod has ended because it found no GPU.

    Args:
        podman: with its pods up.
        deadline: seconds.

    Raises:
        ImagesError: one has not ended in time, or for another reason.
    """
    started = time.monotonic()
    for pod in podman.pods:
        while not podman.ended(pod):
            if time.monotonic() - started > deadline:
                raise ImagesError(f"{pod.name} still runs after {deadline:.0f} s, without a GPU:\n{podman.log(pod)}")
            time.sleep(_INTERVAL)
        log = podman.log(pod)
        if "cannot start" not in log or _NO_GPU not in log:
            raise ImagesError(f"{pod.name} {podman.ended(pod)} and does not say that it found no GPU:\n{log}")


def linked(podman: Podman, image: str) -> str:
    """Asks the loader of an image for all that ONNX Runtime's providers for GPUs are linked against.

    Returns:
        Those that the image is for.

    Raises:
        ImagesError: more than the driver is missing.
    """
    printed = podman("run", "--rm", "--network=none", "--read-only", "--entrypoint=sh", image, "-c", _LDD)
    if absent := not_found(printed):
        raise ImagesError(f"{image} lacks {', '.join(absent)}")
    return "CUDA and TensorRT" if "libnvinfer" in printed else "CUDA, not TensorRT"


def not_found(printed: str) -> list[str]:
    """Libraries that `ldd` did not find, but for the driver's."""
    return sorted(set(re.findall(r"(\S+) => not found", printed)) - {_DRIVER})


def _container(workload: Json) -> Json:
    container: Json = workload["spec"]["template"]["spec"]["containers"][0]
    return container


def _limits(workload: Json) -> Json:
    limits: Json = _container(workload)["resources"]["limits"]
    return limits
