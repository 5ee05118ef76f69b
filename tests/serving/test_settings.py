"""Flags beat variables, variables beat defaults, and what does not fit is said field by field."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.settings import ModelServiceSettings, ServiceSettings, load


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("FERRY_"):
            monkeypatch.delenv(name)


def test_defaults_listen_on_this_machine_only() -> None:
    settings = load(ModelServiceSettings, [])
    assert settings.host == "127.0.0.1"
    assert settings.models_dir == Path("models")
    assert not settings.optimized


def test_a_variable_beats_the_default_and_a_flag_beats_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERRY_MAX_BATCH", "7")
    monkeypatch.setenv("FERRY_GRACE", "3")
    settings = load(ModelServiceSettings, ["--max-batch", "9"])
    assert (settings.max_batch, settings.grace) == (9, 3)


def test_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERRY_OPTIMIZED", "true")
    assert load(ModelServiceSettings, []).optimized
    assert not load(ModelServiceSettings, ["--no-optimized"]).optimized
    assert load(ModelServiceSettings, ["--optimized"]).optimized


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--port", "65536"),
        ("--port", "-1"),
        ("--port", "http"),
        ("--grace", "0"),
        ("--grace", "nan"),
        ("--grace", "inf"),
        ("--default-timeout", "-3"),
        ("--drain-delay", "nan"),
        ("--log-level", "loud"),
        ("--trace-sample-ratio", "2"),
        ("--backend", "torch"),
        ("--device", "tpu"),
        ("--threads", "-1"),
        ("--max-batch", "0"),
        ("--max-queue", "0"),
        ("--max-wait-ms", "nan"),
        ("--reload-interval", "-1"),
    ],
)
@pytest.mark.parametrize("how", ["flag", "variable"])
def test_what_does_not_fit_names_flag_and_variable(
    flag: str, value: str, how: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variable = "FERRY_" + flag[2:].upper().replace("-", "_")
    arguments = [f"{flag}={value}"]
    if how == "variable":
        monkeypatch.setenv(variable, value)
        arguments = []
    with pytest.raises(SystemExit) as ended:
        load(ModelServiceSettings, arguments)
    assert ended.value.code == 2
    assert f"{flag} (or {variable})" in capsys.readouterr().err


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(SystemExit) as ended:
        load(ServiceSettings, ["--prot", "1"])
    assert ended.value.code == 2


def test_an_unknown_variable_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERRY_SOMETHING_OF_ANOTHER_SERVICE", "1")
    load(ServiceSettings, [])


def test_help_names_every_flag_with_a_description(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        load(ModelServiceSettings, ["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for name in ModelServiceSettings.model_fields:
        assert f"--{name.replace('_', '-')}" in text


@pytest.mark.parametrize(
    ("flags", "field", "reason"),
    [
        (["--device", "cpu", "--backend", "cuda"], "--device", "backend cuda does not run on it"),
        (["--device", "cuda", "--backend", "openvino"], "--device", "backend openvino does not run on it"),
        (["--backend", "tensorrt"], "--optimized", "computes in reduced precision"),
    ],
)
def test_what_cannot_go_together_is_said_at_start(
    capsys: pytest.CaptureFixture[str], flags: list[str], field: str, reason: str
) -> None:
    with pytest.raises(SystemExit):
        load(ModelServiceSettings, flags)
    printed = capsys.readouterr().err
    assert field in printed
    assert reason in printed


def test_what_is_missing_is_not_shown_as_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(ServiceSettings, ["--tls-cert", "a.crt"])
    printed = capsys.readouterr().err
    assert "--tls-key (or FERRY_TLS_KEY)" in printed
    assert "None" not in printed


def test_the_gpu_has_variables_and_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (load(ModelServiceSettings, []).device, load(ModelServiceSettings, []).engine_cache) == ("auto", None)
    monkeypatch.setenv("FERRY_DEVICE", "cpu")
    monkeypatch.setenv("FERRY_ENGINE_CACHE", "/engines")
    settings = load(ModelServiceSettings, ["--device", "cuda"])
    assert (settings.device, settings.engine_cache) == ("cuda", Path("/engines"))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"CERT": "tls.crt", "KEY": ""}, "--tls-key (or FERRY_TLS_KEY): is empty; name a file, or leave it out"),
        ({"CERT": "", "KEY": "tls.key"}, "--tls-cert (or FERRY_TLS_CERT): is empty; name a file, or leave it out"),
        ({"CERT": "tls.crt"}, "tls_key is missing; it goes with tls_cert"),
        ({"KEY": "tls.key"}, "tls_cert is missing; it goes with tls_key"),
        ({"CA": "ca.crt"}, "needs tls_cert and tls_key"),
    ],
)
def test_one_of_certificate_and_key_alone(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"FERRY_TLS_{name}", value)
    with pytest.raises(SystemExit):
        load(ServiceSettings, [])
    errors = capsys.readouterr().err
    assert said in errors
    assert "None" not in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("FERRY_MAXBATCH", "FERRY_MAX_BATCH"),
        ("FERRY_MODEL_DIR", "FERRY_MODELS_DIR"),
        ("FERRY_OPTIMISED", "FERRY_OPTIMIZED"),
        ("FERRY_TRACE_SAMPLING_RATIO", "FERRY_TRACE_SAMPLE_RATIO"),
    ],
)
def test_a_variable_that_is_misspelt_is_named(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "9")
    assert load(ModelServiceSettings, []).max_batch == 16
    assert capsys.readouterr().err == f"{name} is no setting, and is ignored; did you mean {meant}?\n"


@pytest.mark.parametrize(
    "name", ["FERRY_ROUTING_FILE", "FERRY_GATEWAY_SERVICE_HOST", "FERRY_GATEWAY_PORT_50051_TCP_PORT", "FERRY_API_KEY"]
)
def test_variables_of_others_are_passed_over(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "9")
    load(ModelServiceSettings, [])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "endpoint",
    ["http://otel-collector:4317", "https://10.0.0.1:4317/", "http://[::1]:4317", "collector.example.com:4317"],
)
def test_where_traces_go(endpoint: str) -> None:
    assert load(ServiceSettings, ["--otlp-endpoint", endpoint]).otlp_endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "::::",
        "collector",
        "http://collector",
        "http://collector:0",
        "http://collector:70000",
        "http://collector:4318/v1/traces",
        "http://somebody:s3kr@collector:4317",
        "http://s3kr/it@collector:4317",
        "ftp://collector:4317",
    ],
)
def test_where_no_traces_can_go_is_said_at_the_start(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FERRY_OTLP_ENDPOINT", endpoint)
    with pytest.raises(SystemExit):
        load(ServiceSettings, [])
    said = capsys.readouterr().err
    assert "FERRY_OTLP_ENDPOINT): must be http://host:port" in said
    assert "s3kr" not in said
