"""`ferry rollout judge` says what keeps it from judging."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cli.rollout import app
from cli.rollout.judge.decide import Rules
from cli.rollout.judge.judge import Judge
from cli.rollout.judge.sources import Gateways, Prometheus
from cli.rollout.judge.state import LEASE_SECONDS
from tests.cli.rollout.judge.conftest import RULES, TABLE, Clock, run
from tests.processes import free_port


def once(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.rollout.judge", "--once", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_look_says_what_it_came_to(page, place) -> None:
    where, closed = ["--routing-file", str(place.path)], free_port()
    blind = once(*where, "--gateways", f"127.0.0.1:{closed}")
    assert (blind.returncode, blind.stdout) == (3, f"judge: waits: no gateway answers: 127.0.0.1:{closed}\n")
    place.state_path.unlink()
    blind = once(*where, "--prometheus", f"http://127.0.0.1:{closed}")
    assert blind.returncode == 3
    assert f"http://127.0.0.1:{closed} cannot be asked: Connection refused" in blind.stdout
    place.state_path.unlink()
    seen = once(*where, "--gateways", f"127.0.0.1:{page[1]}")
    assert (seen.returncode, seen.stdout) == (0, "judge: a new canary, cccccccc: 1.0%\n")
    again = once(*where, "--gateways", f"127.0.0.1:{page[1]}")
    assert "another judge works (until " in again.stdout
    place.path.write_text("no table")
    unread = once(*where, "--gateways", f"127.0.0.1:{page[1]}")
    assert unread.returncode == 3
    assert "is no routing table" in unread.stdout


def test_what_can_never_be_judged_is_refused_at_the_start(place, tmp_path) -> None:
    def asked(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["judge", "--gateways", "127.0.0.1:1", *arguments], env={"COLUMNS": "300"})
        assert done.exit_code == 2
        return done.output

    assert "none.toml" in asked("--routing-file", str(tmp_path / "none.toml"))
    said = asked("--routing-file", str(place.path), "--once", "--canary", "cannary")
    assert "names no cannary, but stable, canary" in said


@pytest.mark.parametrize(
    "url",
    [
        "s3kr",
        "prometheus:9090/s3kr",
        "file:///s3kr",
        "http://",
        "http://judge:s3kr@prometheus:9090",
        "http://judge:s3kr/t@prometheus:9090",
        "http://prometheus:s3kr",
        "http://prometheus:9090/?token=s3kr",
    ],
)
@pytest.mark.parametrize("how", ["flag", "variable"])
def test_the_url_of_a_prometheus_is_checked_at_the_start_and_not_shown(place, url, how) -> None:
    flag = ["--prometheus", url] if how == "flag" else []
    env = {"COLUMNS": "300", "FERRY_JUDGE_PROMETHEUS": url if how == "variable" else ""}
    done = CliRunner().invoke(app, ["judge", "--routing-file", str(place.path), "--once", *flag], env=env)
    assert done.exit_code == 2
    assert "--prometheus" in done.output
    assert " must " in done.output
    assert "s3kr" not in done.output


def test_a_canary_that_is_not_named_yet_is_waited_for(page, place, caplog) -> None:
    kept, port = page
    clock = Clock()
    place.path.write_text(TABLE.replace("canary", "later"))
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, clock=clock)
    caplog.set_level("INFO")
    assert run(judge, clock, kept, 3) == []
    assert caplog.text.count("waits: the routing table names no variant canary, but stable, later") == 1
    place.path.write_text(TABLE)
    run(judge, clock, kept, 1)
    assert judge.judged


def test_what_keeps_a_judge_waiting_is_logged_when_it_changes(page, place, caplog) -> None:
    kept, port = page
    clock, rules = Clock(), Rules(hold=1e6)
    first, second = (Judge(n, place, Gateways([f"127.0.0.1:{port}"]), rules, clock=clock) for n in ("one", "two"))
    caplog.set_level("INFO")
    run(first, clock, kept, 3)
    assert caplog.text.count("holds 1.0% for 1e+06 s") == 1
    run(second, clock, kept, 2)
    assert caplog.text.count("another judge works") == 1
    place.path.write_text("no table")
    clock.now += LEASE_SECONDS
    run(first, clock, kept, 3)
    assert caplog.text.count("is no routing table") == 1
    assert not first.judged


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "does not answer as a Prometheus does"),
        ("[" * 5000, "does not answer as a Prometheus does"),
        ('{"data": {"result": []}}', "knows none"),
    ],
)
def test_a_prometheus_that_is_none_or_knows_none_is_told_apart(monkeypatch, text, says) -> None:
    class Answer:
        def __enter__(self) -> Answer:
            return self

        def __exit__(self, *_: object) -> None:
            return

        def read(self, limit: int) -> bytes:
            return text.encode()

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Answer())
    readings = Prometheus("http://prometheus:9090").read()
    assert readings.missing == (f"http://prometheus:9090 {says}",)


def test_a_page_of_metrics_that_is_no_gateways_is_named(page, monkeypatch) -> None:
    kept, port = page
    monkeypatch.setattr(kept, "text", lambda: "# TYPE other gauge\nother 1\n")
    (missing,) = Gateways([f"127.0.0.1:{port}"]).read().missing
    assert missing == f"127.0.0.1:{port} (is no gateway's: it counts no variants)"
