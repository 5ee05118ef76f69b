"""The overlay `gpu` as it is run without a GPU."""

from __future__ import annotations

from deploy.images.gpu import RESOURCE, asking, free_to_choose, not_found
from deploy.images.manifests import pods
from tests.deploy.manifests import containers, name, render, workloads

OBJECTS = render("gpu")


def environment(objects: tuple[dict[str, object], ...], variable: str) -> dict[str, str | None]:
    return {
        name(item): next((entry["value"] for entry in c["env"] if entry["name"] == variable), None)
        for item in workloads(objects)
        for c in containers(item)
    }


def test_only_what_asks_for_a_gpu_is_run() -> None:
    wanted = {
        name(item) for item in workloads(OBJECTS) if any(RESOURCE in c["resources"]["limits"] for c in containers(item))
    }
    assert wanted == {"detector", "classifier-arcface", "classifier-efficientnet"}
    assert {item.name for item in pods(asking(OBJECTS))} == wanted


def test_left_to_choose_they_are_no_longer_told_to_take_a_gpu() -> None:
    before, after = asking(OBJECTS), free_to_choose(asking(OBJECTS))
    assert set(environment(tuple(before), "FERRY_DEVICE").values()) == {"cuda"}
    for variable in ("FERRY_DEVICE", "FERRY_BACKEND"):
        assert set(environment(tuple(after), variable).values()) == {"auto"}


def test_the_driver_is_the_only_library_that_may_be_missing() -> None:
    printed = "\tlibcuda.so.1 => not found\n\tlibcudnn.so.9 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n"
    assert not_found(printed) == ["libcudnn.so.9"]
    assert not_found(printed.replace("libcudnn.so.9", "libcuda.so.1")) == []
