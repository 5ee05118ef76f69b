"""A judge with a real file, a real metrics page and a real API of a few lines."""

from __future__ import annotations

import json
import math
import os
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.rollout import app
from cli.rollout.judge import place as place_module
from cli.rollout.judge.decide import Action, Rules
from cli.rollout.judge.judge import Judge
from cli.rollout.judge.labels import Labels
from cli.rollout.judge.place import ANNOTATION, ConfigMapPlace, ConflictError, LocalPlace, PlaceError
from cli.rollout.judge.reading import Counts, Reading, Readings, Window
from cli.rollout.judge.sources import Gateways, Prometheus
from cli.rollout.judge.state import LEASE_SECONDS, Phase, State
from cli.rollout.weights import with_share

TABLE = """
[[variants]]
name = "stable"
address = "127.0.0.1:1"
weight = 1.0

[[variants]]
name = "canary"
address = "127.0.0.1:2"
weight = 0.0
"""


class Page:
    """A gateway's metrics, and a Kubernetes API with one ConfigMap."""

    def __init__(self) -> None:
        self.asked = {"stable": 0, "canary": 0}
        self.failed = 0
        self.config_map = {"metadata": {"resourceVersion": "1"}, "data": {"routing.toml": TABLE}}
        self.up: dict[str, int] = {}
        self.unseen = 0.0

    def text(self) -> str:
        lines = ["# TYPE rpc_server_call_duration_seconds histogram", "# TYPE ferry_exposures counter"]
        lines += [f'ferry_exposures_total{{variant="{n}",assigned="key"}} {v}' for n, v in self.asked.items()]
        lines += ["# TYPE ferry_variant_errors counter"]
        lines += [f'ferry_variant_errors_total{{variant="canary",code="INTERNAL"}} {self.failed}']
        lines += ["# TYPE ferry_variant_pipeline gauge"]
        lines += [f'ferry_variant_pipeline{{variant="{n}",fingerprint="{n[0] * 16}"}} 1.0' for n in self.asked]
        return "\n".join(lines) + "\n"

    def series(self, query: str) -> list[dict[str, object]]:
        found: dict[str, list[tuple[dict[str, str], int]]] = {
            "ferry_exposures_total": [({"variant": n, "assigned": "key"}, v) for n, v in self.asked.items()],
            "ferry_variant_errors_total": [({"variant": "canary", "code": "INTERNAL"}, self.failed)],
            "ferry_variant_pipeline": [({"variant": n, "fingerprint": n[0] * 16}, 1) for n in self.asked],
        }
        name = query.partition("{")[0]
        series = [{"metric": {**m, "pod": "g", "job": "g"}, "value": [0, str(v)]} for m, v in found.get(name, [])]
        pods = {"g": 1, **self.up}
        if name in {"up", "timestamp(up"}:
            of = {pod: str(0.0 - self.unseen if name != "up" else value) for pod, value in pods.items()}
            series += [{"metric": {"pod": pod, "job": pod[0]}, "value": [0, value]} for pod, value in of.items()]
        return series


@pytest.fixture
def page() -> Iterator[tuple[Page, int]]:
    kept = Page()

    class Handler(BaseHTTPRequestHandler):
        def _say(self, status: int, body: str) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._say(200, kept.text())
            elif self.path.startswith("/api/v1/query?"):
                from urllib.parse import parse_qs, urlsplit

                (query,) = parse_qs(urlsplit(self.path).query)["query"]
                self._say(200, json.dumps({"data": {"result": kept.series(query)}}))
            else:
                self._say(200, json.dumps(kept.config_map))

        def do_PATCH(self) -> None:
            patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if patch["metadata"]["resourceVersion"] != kept.config_map["metadata"]["resourceVersion"]:
                self._say(409, "{}")
                return
            version = str(int(kept.config_map["metadata"]["resourceVersion"]) + 1)
            kept.config_map["metadata"] = {**patch["metadata"], "resourceVersion": version}
            kept.config_map["data"] |= patch.get("data", {})
            self._say(200, "{}")

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield kept, server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def place(tmp_path: Path) -> LocalPlace:
    path = tmp_path / "routing.toml"
    path.write_text(TABLE)
    return LocalPlace(path)


class Clock:
    now = 1_795_915_145.376

    def __call__(self) -> float:
        return self.now


RULES = Rules(steps=(0.1, 0.5, 1.0), hold=10, least=20)


def run(judge: Judge, clock: Clock, page: Page, looks: int, failing: int = 0) -> list[Action]:
    done = []
    for _ in range(looks):
        clock.now += 4
        page.asked = {name: count + 40 for name, count in page.asked.items()}
        page.failed += failing
        done.append(judge.look())
    return [action for action in done if action is not Action.NONE]


@pytest.mark.parametrize("source", [Gateways, Prometheus])
def test_a_canary_steps_up_and_is_taken_back_with_the_first_look_that_shows_it(page, place, source) -> None:
    kept, port = page
    clock = Clock()
    where = Gateways([f"127.0.0.1:{port}"]) if source is Gateways else Prometheus(f"http://127.0.0.1:{port}", "ferry")
    judge = Judge("one", place, where, RULES, clock=clock)
    assert run(judge, clock, kept, 6) == [Action.START, Action.STEP]
    assert place.read().table.shares["canary"] == pytest.approx(0.5)
    assert run(judge, clock, kept, 1, failing=20) == [Action.ROLL_BACK]
    found = place.read()
    assert found.table.shares["canary"] == 0
    assert found.state.phase is Phase.ROLLED_BACK
    assert "errors" in found.state.reason
    shown = CliRunner().invoke(app, ["status", "--routing-file", str(place.path)])
    assert "canary: 0.0% of the callers" in shown.output
    assert "judge: rolled-back: errors" in shown.output
    assert "10.0% held; now 50.0%" in shown.output


def test_a_state_that_cannot_be_read_is_said_and_left_as_it_is(page, place, caplog) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    run(judge, clock, kept, 1)
    place.state_path.write_text("half a sta")
    assert run(judge, clock, kept, 5, failing=20) == []
    assert "is no state of a judge" in caplog.text
    assert str(place.state_path) in caplog.text
    assert place.state_path.read_text() == "half a sta"
    place.state_path.unlink()
    assert run(judge, clock, kept, 1) == [Action.START], "it begins anew where a person has removed it"


def test_a_canary_alone_is_compared_with_what_stable_last_did(page, place) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    assert run(judge, clock, kept, 12) == [Action.START, Action.STEP, Action.STEP, Action.FINISH]
    for _ in range(30):
        clock.now += 4
        kept.asked["canary"] += 40
        assert judge.look() is Action.NONE
    done = []
    for _ in range(2):
        clock.now += 4
        kept.asked["canary"] += 40
        kept.failed += 20
        done.append(judge.look())
    assert Action.ROLL_BACK in done, "within ten seconds"


def test_another_judge_goes_on_where_the_first_one_died(page, place) -> None:
    kept, port = page
    clock = Clock()
    first, second = (Judge(n, place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock) for n in ("one", "two"))
    assert run(first, clock, kept, 1) == [Action.START]
    assert run(second, clock, kept, 5) == [], "it is not its turn"
    clock.now += LEASE_SECONDS
    assert run(second, clock, kept, 6) == [Action.STEP, Action.STEP]
    assert place.read().state.holder == "two"
    assert run(first, clock, kept, 1) == []


def test_whoever_sees_harm_takes_the_canary_back_whosever_turn_it_is(page, place) -> None:
    """The first judge dies; its lease has half a minute to go when the canary begins to fail."""
    kept, port = page
    clock = Clock()
    first, second = (Judge(n, place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock) for n in ("one", "two"))
    for _ in range(2):
        run(first, clock, kept, 1)
        second.look()
    assert place.read().state.holder == "one"
    assert run(second, clock, kept, 2, failing=30) == [Action.ROLL_BACK], "within ten seconds"
    assert place.read().table.shares["canary"] == 0
    assert run(first, clock, kept, 3, failing=30) == [], "once is enough"


def test_a_person_wins(page, place) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    run(judge, clock, kept, 1)
    place.path.write_text(TABLE.replace("weight = 0.0", "weight = 3.0"))
    assert run(judge, clock, kept, 10, failing=30) == [Action.STAND_BACK]
    assert place.read().table.shares["canary"] == pytest.approx(0.75)


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
    for now, asked, failed, started in ((0.0, 100.0, 0.0, 1.0), (4.0, 120.0, 20.0, 2.0)):
        counts = {"canary": Counts(asked=asked, failed=failed)}
        window.add(now, Readings({"g": Reading(counts, {}, started)}))
    found = window.since(0)["canary"]
    assert (found.asked, found.failed, window.anew) == (120, 20, ("g",))


def test_one_counter_that_went_back_makes_all_of_a_process_worthless() -> None:
    window = Window(60)
    for now, stable, canary, failed in ((0.0, 900.0, 100.0, 0.0), (4.0, 40.0, 120.0, 20.0)):
        counts = {"stable": Counts(asked=stable), "canary": Counts(asked=canary, failed=failed)}
        window.add(now, Readings({"g": Reading(counts, {})}))
    assert (window.since(0), window.anew) == ({}, ("g",))


def test_harm_that_has_just_begun_does_not_drown_in_the_minute_before(page, place) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), Rules(hold=1e6), clock=clock)
    assert run(judge, clock, kept, 15) == [Action.START]
    assert run(judge, clock, kept, 2, failing=12) == [Action.ROLL_BACK]


def test_state_and_table_are_on_the_disk_before_they_are_in_place(place, monkeypatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def replaced(path: Path, target: Path) -> Path:
        done.append("in place")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    before = place.read()
    place.write(before, with_share(before.table, "canary", 0.5), State(Phase.STEPPING, "c" * 16, 0.5))
    assert done == ["file", "file", "in place", "in place", "folder"]


def test_a_person_who_replaces_the_file_while_the_judge_writes_wins(place, monkeypatch) -> None:
    before, theirs = place.read(), TABLE.replace("weight = 0.0", "weight = 3.0")
    written = place_module._written

    def slow_disk(path: Path, text: str) -> Path:
        place.path.write_text(theirs)
        return written(path, text)

    monkeypatch.setattr(place_module, "_written", slow_disk)
    with pytest.raises(ConflictError):
        place.write(before, with_share(before.table, "canary", 0.5), State(Phase.STEPPING, "c" * 16, 0.5))
    assert place.path.read_text() == theirs
    assert place.read().state == State()


def test_a_clock_that_jumps_ahead_shortens_no_hold(page, place) -> None:
    kept, port = page
    clock, steady = Clock(), Clock()
    rules = Rules(steps=(0.1, 0.5), hold=600, least=20)
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), rules, clock=clock, steady=steady)

    def looks(number: int) -> list[Action]:
        done = []
        for _ in range(number):
            steady.now += 4
            done += run(judge, clock, kept, 1)
        return done

    assert looks(1) == [Action.START]
    clock.now += 86400
    assert looks(100) == []
    assert "holds 10.0%" in place.read().state.reason
    assert looks(60) == [Action.STEP]


@pytest.mark.parametrize("source", [Gateways, Prometheus])
def test_counts_that_are_no_numbers_are_missing_data(page, place, source) -> None:
    kept, port = page
    clock = Clock()
    where = Gateways([f"127.0.0.1:{port}"]) if source is Gateways else Prometheus(f"http://127.0.0.1:{port}", "ferry")
    judge = Judge("one", place, where, RULES, clock=clock)
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
    window.add(0, Readings({"old": Reading({"canary": Counts(asked=5)}, {})}))
    for now in (30.0, 61.0):
        window.add(now, Readings({"new": Reading({"canary": Counts(asked=now)}, {})}))
    window.add(62, Readings({"old": Reading({"canary": Counts(asked=9)}, {})}))
    assert window.since(0)["canary"].asked == 31


def test_the_config_map_is_changed_by_whoever_read_it_last(page) -> None:
    kept, port = page
    where = ConfigMapPlace(f"http://127.0.0.1:{port}", "ferry", None, None)
    before = where.read()
    assert before.table.shares == {"stable": 1.0, "canary": 0.0}
    where.write(before, before.table, State(Phase.STEPPING, "c" * 16, 0.1))
    assert "weight = 0.0" in kept.config_map["data"]["routing.toml"]
    assert ANNOTATION in kept.config_map["metadata"]["annotations"]
    assert where.read().state.share == 0.1
    with pytest.raises(ConflictError):
        where.write(before, before.table, State())


def test_what_cannot_be_read_is_named(tmp_path) -> None:
    with pytest.raises(PlaceError, match="cannot be read"):
        LocalPlace(tmp_path / "none.toml").read()
    (tmp_path / "bad.toml").write_text("weight = much")
    with pytest.raises(PlaceError, match="no routing table"):
        LocalPlace(tmp_path / "bad.toml").read()
    with pytest.raises(PlaceError, match="API server"):
        ConfigMapPlace("http://127.0.0.1:1", "ferry", None, None).read()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--steps", "0.5,0.1"], "rising"),
        (["--steps", "nan"], "shares"),
        (["--hold", "nan"], "--hold"),
        (["--slower", "0.5"], "--slower"),
        (["--gateways", "here"], "HOST:PORT"),
        (["--gateways", ""], "give one of"),
    ],
)
def test_bad_options_are_named(arguments, word) -> None:
    done = CliRunner().invoke(app, ["judge", "--gateways", "127.0.0.1:1", *arguments])
    assert done.exit_code == 2
    assert word in done.output


class KilledError(Exception):
    """A judge ends here."""


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_judge_killed_between_its_writes_leaves_the_canary_the_smaller_share(place, monkeypatch, share) -> None:
    place.path.write_text(TABLE.replace("weight = 0.0", "weight = 0.25").replace("weight = 1.0", "weight = 0.75"))
    before = place.read()
    written: list[Path] = []
    put = place_module._put

    def dying(new: Path, path: Path) -> None:
        if written:
            raise KilledError
        written.append(path)
        put(new, path)

    monkeypatch.setattr(place_module, "_put", dying)
    phase = Phase.STEPPING if share else Phase.ROLLED_BACK
    with pytest.raises(KilledError):
        place.write(before, with_share(before.table, "canary", share), State(phase, "c" * 16, share))
    assert place.read().table.shares["canary"] == pytest.approx(min(share, 0.25))


def test_a_roll_back_that_the_disk_refuses_is_tried_again(page, place, monkeypatch) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    assert run(judge, clock, kept, 2) == [Action.START]
    full = [True]
    written = place_module._written

    def refusing(path: Path, text: str) -> Path:
        if full[0] and path == place.path:
            raise OSError(28, "No space left on device")
        return written(path, text)

    monkeypatch.setattr(place_module, "_written", refusing)
    assert run(judge, clock, kept, 3, failing=30) == []
    full[0] = False
    assert run(judge, clock, kept, 1, failing=30) == [Action.ROLL_BACK]
    assert place.read().table.shares["canary"] == 0


def test_a_clock_that_is_put_back_makes_no_guardrail_blind(page, place) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    assert run(judge, clock, kept, 2) == [Action.START]
    clock.now -= 7200
    assert run(judge, clock, kept, 3, failing=30) == [Action.ROLL_BACK]


def test_a_lease_of_a_clock_that_went_ahead_keeps_nobody_away(page, place) -> None:
    kept, port = page
    clock, ahead = Clock(), Clock()
    ahead.now += 7200
    first = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=ahead)
    assert run(first, ahead, kept, 1) == [Action.START]
    second = Judge("two", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    assert run(second, clock, kept, 4, failing=30) == [Action.ROLL_BACK]


def test_what_labels_said_of_a_former_pipeline_does_not_take_the_next_one_back(page, place) -> None:
    kept, port = page
    clock, labels = Clock(), Labels("redis://127.0.0.1:1", "canary")
    labels.missing, labels.worse = "", ("f" * 16, "labels: canary is worse")
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, labels=labels, clock=clock)
    assert run(judge, clock, kept, 2) == [Action.START]
    labels.worse = ("c" * 16, "labels: canary is worse")
    assert run(judge, clock, kept, 1) == [Action.ROLL_BACK]
    assert "canary is worse" in place.read().state.reason
