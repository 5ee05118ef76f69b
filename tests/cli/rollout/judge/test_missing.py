"""What is not known: no judge steps by it, and none takes it for harm."""

from __future__ import annotations

import math
import socket
import threading
from contextlib import suppress

import pytest
from prometheus_client import REGISTRY

from cli.ab.records import Records
from cli.rollout.judge.decide import Action
from cli.rollout.judge.judge import Judge
from cli.rollout.judge.labels import Labels
from cli.rollout.judge.place import ConfigMapPlace, PlaceError
from cli.rollout.judge.reading import Counts, Reading, Readings, Window
from cli.rollout.judge.sources import Gateways, Prometheus
from tests.cli.rollout.judge.conftest import RULES, Clock, run, source_at


def test_a_gateway_that_does_not_answer_stops_steps(page, place) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}", "127.0.0.1:1"]), RULES, clock=clock)
    assert run(judge, clock, kept, 10) == []
    assert "does not answer: 127.0.0.1:1" in place.read().state.reason


def test_a_gateway_that_prometheus_cannot_scrape_is_named_and_nothing_is_stepped(page, place) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Prometheus(f"http://127.0.0.1:{port}", "ferry"), RULES, clock=clock)
    kept.up = {"other-service": 0}
    assert run(judge, clock, kept, 1) == [Action.START], "what is no gateway is not missed"
    kept.up = {"g-2": 0}
    assert run(judge, clock, kept, 6) == []
    assert "g-2 (Prometheus cannot scrape it)" in place.read().state.reason
    kept.up = {}
    assert run(judge, clock, kept, 1) == [Action.STEP]
    assert run(judge, clock, kept, 1, failing=30) == [Action.ROLL_BACK]


def test_prometheus_gives_what_the_gateways_themselves_give(page) -> None:
    kept, port = page
    kept.asked, kept.hits, kept.failed = {"canary": 100}, {"canary": 60}, 10
    (reading,) = Prometheus(f"http://127.0.0.1:{port}", "ferry").read().by_process.values()
    (own,) = Gateways([f"127.0.0.1:{port}"]).read().by_process.values()
    assert reading.counts == own.counts
    assert (own.counts["canary"].tried, own.counts["canary"].failed) == (40, 10)


@pytest.mark.parametrize("said", [b"\0\0\6\4 not HTTP", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n"])
def test_what_does_not_speak_http_to_its_end_is_missing(said) -> None:
    """A gateway's gRPC port, given by mistake; a proxy that breaks off."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    with server.accept()[0] as peer:
                        peer.recv(4096)
                        peer.sendall(said)

        threading.Thread(target=answer, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert Gateways([address]).read().missing == (address,)
        assert Prometheus(f"http://{address}").read().missing
        with pytest.raises(PlaceError):
            ConfigMapPlace(f"http://{address}", "ferry", None, None).read()
        server.shutdown(socket.SHUT_RDWR)


def test_old_scrapes_are_no_knowledge(page, place) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Prometheus(f"http://127.0.0.1:{port}", "ferry"), RULES, clock=clock)
    kept.unseen = 120.0
    assert run(judge, clock, kept, 3) == []
    assert "g (not scraped for 120 s)" in place.read().state.reason


def test_a_gateway_that_was_there_and_is_gone_stops_steps_for_a_minute(page, place) -> None:
    kept, port = page
    clock, source = Clock(), Gateways([f"127.0.0.1:{port}"])
    gone = source.read().by_process[f"127.0.0.1:{port}"]

    class Scaled:
        there = True

        def read(self) -> Readings:
            found = source.read()
            return Readings({**found.by_process, **({"gone:9090": gone} if self.there else {})}, found.missing)

    where = Scaled()
    judge = Judge("one", place, where, RULES, clock=clock)
    assert run(judge, clock, kept, 1) == [Action.START]
    where.there = False
    assert run(judge, clock, kept, 14) == []
    assert "is gone: gone:9090" in place.read().state.reason
    assert run(judge, clock, kept, 2) == [Action.STEP]


def test_counters_that_went_back_are_missing_data_for_a_minute(page, place) -> None:
    """What the gateway counted before its end is lost: it may have been what speaks against the canary."""
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    assert run(judge, clock, kept, 2) == [Action.START]
    kept.asked = dict.fromkeys(kept.asked, 0)
    assert run(judge, clock, kept, 15) == []
    assert "started anew within a minute: 127.0.0.1" in place.read().state.reason
    assert run(judge, clock, kept, 2) == [Action.STEP]


def test_a_process_that_started_anew_is_known_by_its_start_though_its_counters_rose() -> None:
    """Else what it counts since, 20 of 120, would be 20 of 20."""
    window = Window(60)
    for now, answered, failed, started in ((0.0, 100.0, 0.0, 1.0), (4.0, 100.0, 20.0, 2.0)):
        counts = {"canary": Counts(answered=answered, errors=failed)}
        window.add(now, Readings({"g": Reading(counts, {}, started)}))
    found = window.since(0)["canary"]
    assert (found.tried, found.failed, window.anew) == (120, 20, ("g",))


def test_what_an_older_process_behind_the_same_address_counted_is_not_of_now() -> None:
    """An address that stands for several gateways by turns: 900 failures of last week are none of this minute."""
    window = Window(60)
    for now, failed, started in ((1000.0, 0.0, 2.0), (1004.0, 900.0, 1.0), (1008.0, 0.0, 2.0)):
        counts = {"canary": Counts(answered=1000, errors=failed)}
        window.add(now, Readings({"g": Reading(counts, {}, started)}))
    assert (window.since(0), window.anew) == ({}, ("g",))


def test_one_counter_that_went_back_makes_all_of_a_process_worthless() -> None:
    window = Window(60)
    for now, stable, canary, failed in ((0.0, 900.0, 100.0, 0.0), (4.0, 40.0, 120.0, 20.0)):
        counts = {"stable": Counts(answered=stable), "canary": Counts(answered=canary, errors=failed)}
        window.add(now, Readings({"g": Reading(counts, {})}))
    assert (window.since(0), window.anew) == ({}, ("g",))


@pytest.mark.parametrize("source", [Gateways, Prometheus])
def test_counts_that_are_no_numbers_are_missing_data(page, place, source) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, source_at(source, port), RULES, clock=clock)
    assert run(judge, clock, kept, 1) == [Action.START]
    kept.asked = dict.fromkeys(kept.asked, math.nan)
    assert run(judge, clock, kept, 8) == []
    assert place.read().table.shares["canary"] == pytest.approx(0.1)
    assert "waits: " in place.read().state.reason


def test_nothing_is_stepped_before_labels_have_been_read(page, place) -> None:
    kept, port = page
    clock, labels = Clock(), Labels("redis://127.0.0.1:1", "canary")
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, labels=labels, clock=clock)
    assert run(judge, clock, kept, 8) == []
    assert place.read().state.reason == "waits: labels have not been read yet"
    labels.look()
    assert run(judge, clock, kept, 8) == []
    assert "Redis cannot be read" in place.read().state.reason


def test_a_look_that_fails_in_an_unforeseen_way_ends_no_judge(page, place, monkeypatch) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    assert run(judge, clock, kept, 2) == [Action.START]
    with monkeypatch.context() as patched:
        patched.setattr(place, "read", lambda: 1 / 0)
        assert run(judge, clock, kept, 2) == []
        assert REGISTRY.get_sample_value("ferry_judge_blind") == 1
    assert run(judge, clock, kept, 2, failing=30) == [Action.ROLL_BACK]


def test_labels_that_were_read_long_ago_are_not_known(monkeypatch) -> None:
    """A Redis that answers each of a thousand commands after seconds: the look never ends."""
    now = 1_700_000_000.0
    labels = Labels("redis://127.0.0.1:1", "canary", clock=lambda: now)
    monkeypatch.setattr("cli.rollout.judge.labels.read", lambda *_: Records({}, {}, []))
    labels.look()
    assert labels.missing == ""
    now += 1000
    assert labels.missing == "labels were last read 1000 s ago"


def test_labels_that_cannot_be_judged_end_no_thread_and_are_said(monkeypatch) -> None:
    leave, labels = threading.Event(), Labels("redis://127.0.0.1:1", "canary")

    def broken(*_: object) -> None:
        leave.set()
        raise RuntimeError("a record of another time")

    monkeypatch.setattr("cli.rollout.judge.labels.read", broken)
    labels.follow(60, leave)
    assert "cannot be judged" in labels.missing


def test_processes_that_are_gone_for_long_are_forgotten() -> None:
    window = Window(60)
    window.add(0, Readings({"old": Reading({"canary": Counts(answered=5)}, {})}))
    for now in (30.0, 61.0):
        window.add(now, Readings({"new": Reading({"canary": Counts(answered=now)}, {})}))
    window.add(62, Readings({"old": Reading({"canary": Counts(answered=9)}, {})}))
    assert window.since(0)["canary"].answered == 31
