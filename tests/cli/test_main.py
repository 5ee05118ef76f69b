"""The command line as a whole. A process of its own takes a second to import what it needs, so most run in this one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ferry
from cli.cluster import ClusterError
from cli.main import main
from cli.verdicts import NOTHING

COMMANDS = ("serve", "predict", "stream", "status", "monitor", "models", "rollout", "tune", "capacity", "version")


def ferry_command(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from cli.main import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd, check=False)


Ferry = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def ferry_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ferry:
    """`ferry_command` within this process."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["ferry", *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return run


def test_help_names_every_command() -> None:
    run = ferry_command("--help")
    assert run.returncode == 0
    for name in COMMANDS:
        assert name in run.stdout


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(ferry_here: Ferry, command: str, flag: str) -> None:
    run = ferry_here(command, flag)
    assert run.returncode == 0, run.stderr
    assert "Usage" in run.stdout


def test_help_flows_in_paragraphs(ferry_here: Ferry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    for command in ("serve", "predict", "stream", "tune"):
        lines = [line for line in ferry_here(command, "--help").stdout.splitlines() if line.strip()]
        prose = lines[1 : next(i for i, line in enumerate(lines) if line.startswith("╭"))]
        assert all(line.rstrip().endswith(".") for line in prose), prose


def test_version(ferry_here: Ferry) -> None:
    assert ferry_here("version").stdout.strip() == ferry.__version__


def test_a_failure_is_one_line_that_says_what_to_do() -> None:
    run = ferry_command("status", "--address", "127.0.0.1:1")
    assert run.returncode == 1
    assert run.stdout == ""
    (line,) = run.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "ferry serve" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--replicas", "teapot=2"],
        ["serve", "--replicas", "detector"],
        ["serve", "--classifier", "mine=heavy"],
        ["serve", "--classifier", "arcface=nan"],
        ["serve", "--redis-url", "localhost:6379"],
        ["serve", "--port", "70000"],
        ["predict"],
        ["predict", __file__, "--address", "a:1,b:2"],
        ["status", "--address", "localhost"],
        ["stream", "--max-faces", "0"],
        ["brew"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(ferry_here: Ferry, arguments: list[str]) -> None:
    assert ferry_here(*arguments).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--classifier", "arcface"], "write MODEL=WEIGHT, such as arcface=0.85"),
        (["--replicas", "detector"], "write SERVICE=N, such as classifier=2"),
        (["--jobs-redis-url", "redis://x"], "--jobs-redis-url needs --jobs-key"),
        (["--redis-url", "localhost:6379"], "--redis-url must begin with redis://"),
    ],
    ids=" ".join,
)
def test_serve_says_what_to_write(
    ferry_here: Ferry, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert says in ferry_here("serve", *arguments).stderr


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        (["serve"], "--redis-url"),
        (["serve"], "--jobs-redis-url"),
        (["ab", "report"], "--redis-url"),
        (["rollout", "judge", "--gateways", "g:1"], "--redis-url"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else part,
)
def test_a_redis_url_that_does_not_fit_is_named_and_not_shown(
    ferry_here: Ferry, monkeypatch: pytest.MonkeyPatch, command: list[str], flag: str
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    run = ferry_here(*command, flag, "redis://:s3kr/it@host:6379/0")
    assert run.returncode in {2, 64}
    assert flag in run.stderr
    assert "percent-encode" in run.stderr
    assert "s3kr" not in run.stderr + run.stdout
    assert "Traceback" not in run.stderr


def test_serve_without_models_says_what_to_do(tmp_path: Path) -> None:
    run = ferry_command("serve", "--port", "0", "--models-dir", str(tmp_path))
    assert run.returncode == 1
    assert "no model 'detector'" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_list_without_models_says_where_it_looked(ferry_here: Ferry, tmp_path: Path) -> None:
    run = ferry_here("models", "list", "--models-dir", str(tmp_path))
    assert run.returncode == 0
    assert f"no models in {tmp_path}" in run.stdout


def test_light_commands_import_no_model_runtime() -> None:
    code = (
        "import sys, cli.main; heavy = {'numpy', 'onnxruntime', 'openvino', 'torch'}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_what_nobody_foresaw_is_never_taken_for_a_verdict(ferry_here: Ferry, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 means "not decided" for `ferry ab report`, and 0 "alike" for `ferry drift report`."""
    from cli.ab import show
    from cli.drift import command

    def broken(*_: object) -> None:
        raise KeyError("teapot")

    monkeypatch.setattr(show, "read", broken)
    monkeypatch.setattr(command, "read", broken)
    for run in (
        ferry_here("ab", "report", "--redis-url", "redis://x"),
        ferry_here("drift", "baseline", "--gateways", "g:1", "--out", "drift.json"),
    ):
        assert run.returncode == NOTHING
        assert "unexpected KeyError: 'teapot'" in run.stderr


def test_errors_are_a_line_and_show_where_on_request(ferry_here: Ferry, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("teapot")

    monkeypatch.setattr("cli.status.credentials", broken)
    plain = ferry_here("status")
    assert plain.returncode == 1
    assert plain.stderr.splitlines() == [
        "error: unexpected KeyError: 'teapot'; `ferry --debug ...` shows where, for a report"
    ]
    assert "Traceback" in ferry_here("--debug", "status").stderr


def test_the_end_of_a_service_s_log_is_shown_in_words(ferry_here: Ferry, monkeypatch: pytest.MonkeyPatch) -> None:
    log = '{"level": "ERROR", "message": "cannot start: tls_cert: x holds no certificate", "service": "gateway"}\nplain'
    log += "\n" + "[" * 5000

    def failed(*_: object, **__: object) -> None:
        raise ClusterError("gateway exited with 1 while starting", log)

    monkeypatch.setattr("cli.status.credentials", failed)
    assert ferry_here("status").stderr.splitlines() == [
        "gateway: cannot start: tls_cert: x holds no certificate",
        "plain",
        "[" * 5000,
        "error: gateway exited with 1 while starting",
    ]


def test_a_file_is_named_before_what_is_wrong_with_it(ferry_here: Ferry, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "models/a.onnx")

    monkeypatch.setattr("cli.status.credentials", missing)
    said = ferry_here("status")
    assert said.stderr.strip() == "error: models/a.onnx: no such file or directory"
    assert "Traceback" in ferry_here("--debug", "status").stderr
