"""The routing file changes while the gateway runs."""

from __future__ import annotations

import asyncio
import logging

from prometheus_client import REGISTRY

from ferry.v1 import gateway_pb2
from tests.gateway.fakes import eventually, jpeg
from tests.gateway.routing.test_routing import CALLERS, variants_of


def share(variant):
    return REGISTRY.get_sample_value("ferry_variant_share", {"variant": variant})


async def test_a_growing_canary_takes_callers_from_stable_only_and_fails_nobody(tracks):
    tracks.write(stable=0.8, canary=0.2)
    gateway = await tracks.gateway()
    before = await variants_of(gateway)
    tracks.write(stable=0.4, canary=0.6)
    await eventually(lambda: share("canary") == 0.6)
    after = await variants_of(gateway)
    moved = {(a, b) for a, b in zip(before, after, strict=True) if a != b}
    assert moved == {("stable", "canary")}


async def test_rolling_back_is_the_same_file_again(tracks):
    tracks.write(stable=0.5, canary=0.5)
    gateway = await tracks.gateway()
    first = await variants_of(gateway)
    tracks.write(stable=1, canary=0)
    await eventually(lambda: share("canary") == 0)
    assert set(await variants_of(gateway)) == {"stable"}
    tracks.write(stable=0.5, canary=0.5)
    await eventually(lambda: share("canary") == 0.5)
    assert await variants_of(gateway) == first


async def test_a_mounted_config_map_is_followed_through_its_links(tracks):
    """The kubelet writes a folder beside the old one and swaps the link `..data`."""
    folder = tracks.path.parent / "mounted"
    for version, weights in (("..1", {"stable": 1, "canary": 0}), ("..2", {"stable": 0, "canary": 1})):
        (folder / version).mkdir(parents=True)
        tracks.write(**weights)
        tracks.path.rename(folder / version / "routing.toml")
    (folder / "..data").symlink_to("..1")
    (folder / "routing.toml").symlink_to("..data/routing.toml")
    gateway = await tracks.gateway(routing_file=folder / "routing.toml")
    assert set(await variants_of(gateway)) == {"stable"}
    (folder / "..data_tmp").symlink_to("..2")
    (folder / "..data_tmp").rename(folder / "..data")
    await eventually(lambda: share("canary") == 1)
    assert set(await variants_of(gateway)) == {"canary"}


async def test_a_file_that_cannot_be_used_changes_nothing_and_is_said_once(tracks, caplog):
    tracks.write(stable=0, canary=1)
    gateway = await tracks.gateway()
    looks = count_looks(gateway)
    with caplog.at_level(logging.ERROR, "serving.watched_file"):
        tracks.path.write_text("[[variants]]\nname = 'stable'\n")
        await eventually(lambda: REGISTRY.get_sample_value("ferry_routing_invalid") == 1)
        seen = looks[0]
        await eventually(lambda: looks[0] >= seen + 3)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "variants.0.address: is missing" in record.getMessage()
    assert set(await variants_of(gateway)) == {"canary"}
    tracks.path.unlink()
    seen = looks[0]
    await eventually(lambda: looks[0] >= seen + 2)
    assert set(await variants_of(gateway)) == {"canary"}
    tracks.write(stable=1, canary=0)
    await eventually(lambda: REGISTRY.get_sample_value("ferry_routing_invalid") == 0 and share("canary") == 0)
    assert set(await variants_of(gateway)) == {"stable"}


def count_looks(gateway):
    looks, file = [0], gateway.service._routing._file
    look = file.look

    def counted() -> bool:
        try:
            return look()
        finally:
            looks[0] += 1

    file.look = counted
    return looks


async def test_a_table_that_cannot_be_put_into_use_is_tried_again_and_said_once(tracks, monkeypatch, caplog):
    tracks.write(stable=1, canary=0)
    gateway = await tracks.gateway()
    router, failed = gateway.service._router, []
    connect = router._connect

    def fail(*where):
        failed.append(where)
        raise OSError("too many open files")

    monkeypatch.setattr(router, "_connect", fail)
    tracks.addresses["other"] = tracks.addresses["canary"]
    with caplog.at_level(logging.ERROR, "gateway.routing.file"):
        tracks.write(stable=0.5, canary=0, other=0.5)
        await eventually(lambda: len(failed) >= 3)
    assert REGISTRY.get_sample_value("ferry_routing_invalid") == 1
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "too many open files" in record.getMessage()
    assert set(await variants_of(gateway, CALLERS[:4])) == {"stable"}
    monkeypatch.setattr(router, "_connect", connect)
    await eventually(lambda: share("other") == 0.5)
    await eventually(lambda: REGISTRY.get_sample_value("ferry_routing_invalid") == 0)


async def test_variants_that_start_beside_one_that_cannot_are_closed_again(tracks, monkeypatch):
    tracks.write(stable=1)
    gateway = await tracks.gateway()
    connect, made = gateway.service._router._connect, []

    def watched(*where):
        made.append(connect(*where))
        if where[0] == "bad":
            made[-1].start = refuse_to_start
        return made[-1]

    async def refuse_to_start():
        await eventually(lambda: made[0]._upstream is not None)
        raise OSError("no")

    monkeypatch.setattr(gateway.service._router, "_connect", watched)
    tracks.addresses.update(good=tracks.addresses["canary"], bad=tracks.addresses["canary"])
    tracks.write(stable=1, good=0, bad=0)
    await eventually(lambda: len(made) >= 2 and REGISTRY.get_sample_value("ferry_routing_invalid") == 1)
    assert made[0]._upstream.channel.get_state().name == "SHUTDOWN"


async def test_a_variant_that_moves_keeps_its_pipeline_in_the_metrics(tracks):
    def shown():
        labels = {"variant": "stable", "fingerprint": "a" * 16}
        return REGISTRY.get_sample_value("ferry_variant_pipeline", labels)

    tracks.canary.fingerprint = tracks.stable.fingerprint
    tracks.write(stable=1)
    gateway = await tracks.gateway(pipeline_interval=20)
    assert shown() == 1
    tracks.addresses["stable"] = tracks.addresses["canary"]
    tracks.write(stable=1)
    await eventually(lambda: gateway.service._router.stable.address == tracks.addresses["canary"])
    assert shown() == 1


async def test_a_variant_that_vanishes_ends_its_calls_first(tracks):
    tracks.write(stable=0, canary=1)
    gateway = await tracks.gateway()
    tracks.canary.gate.clear()
    calls = [asyncio.create_task(gateway.recognize(jpeg(shade))) for shade in range(4)]
    await eventually(lambda: len(tracks.canary.requests) == 4)
    retired = gateway.service._router._variants["canary"]
    tracks.write(stable=1)
    await eventually(lambda: share("canary") is None)
    assert (await gateway.recognize(jpeg())).variant == "stable"
    status = await gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=20)
    assert [variant.name for variant in status.variants] == ["stable"]
    tracks.canary.gate.set()
    assert {(await call).variant for call in calls} == {"canary"}
    await eventually(lambda: not gateway.service._router._retiring)
    assert retired._upstream.channel.get_state().name == "SHUTDOWN"
    assert REGISTRY.get_sample_value("ferry_variant_healthy", {"variant": "canary"}) is None


async def test_a_variant_can_move_to_another_address(tracks):
    tracks.write(stable=1)
    gateway = await tracks.gateway()
    first = await variants_of(gateway, CALLERS[:4])
    tracks.addresses["stable"] = tracks.addresses["canary"]
    tracks.write(stable=1)
    await eventually(lambda: gateway.service._router.stable.address == tracks.addresses["canary"])
    assert await variants_of(gateway, CALLERS[:4]) == first == ["stable"] * 4
    assert (await gateway.recognize(jpeg())).fingerprint == "c" * 64


async def test_no_call_fails_while_tables_come_and_go(tracks):
    tracks.write(stable=0.5, canary=0.5)
    gateway = await tracks.gateway()
    done = asyncio.Event()

    async def keep_calling(number: int) -> int:
        calls = 0
        while not done.is_set():
            await gateway.recognize(jpeg(number), bypass_cache=True, metadata=[("x-ferry-key", f"{number}-{calls}")])
            calls += 1
        return calls

    callers = [asyncio.create_task(keep_calling(n)) for n in range(4)]
    for weights in ({"stable": 1.0}, {"stable": 0.9, "canary": 0.1}, {"stable": 0.0, "canary": 1.0}, {"stable": 1.0}):
        tracks.write(**weights)
        wanted = weights.get("canary")
        await eventually(lambda wanted=wanted: share("canary") == wanted)
    done.set()
    assert all(calls > 0 for calls in await asyncio.gather(*callers))
