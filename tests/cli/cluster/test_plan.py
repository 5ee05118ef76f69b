"""From settings to processes."""

from __future__ import annotations

import errno
import json
import socket
from pathlib import Path

import pytest

from cli.cluster import ClusterError, ClusterSettings, ports
from cli.cluster.plan import plan
from cli.cluster.process import ProcessSpec
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("detector", "efficientnet", "arcface", "mine"):
        (tmp_path / "models" / name).mkdir(parents=True)
    return tmp_path / "models"


def flag(spec: ProcessSpec, name: str) -> str:
    return spec.command[spec.command.index(name) + 1]


def test_the_usual_cluster(models: Path, tmp_path: Path) -> None:
    specs = plan(ClusterSettings(port=0, models_dir=models), tmp_path)
    assert [spec.name for spec in specs] == [
        "gateway",
        "ensembler",
        "detector",
        "classifier-efficientnet",
        "classifier-arcface",
        "valkey",
    ]
    assert [spec.stage for spec in specs] == [0, 1, 2, 2, 2, 3]
    gateway, ensembler, detector, efficientnet, arcface, valkey = specs
    assert flag(gateway, "--ensembler-address") == ensembler.address
    assert valkey.address == f"unix://{tmp_path}/valkey.sock"
    assert gateway.environment == {"FERRY_REDIS_URL": valkey.address}
    assert not any(spec.environment for spec in (ensembler, detector, efficientnet, arcface, valkey))
    recipe, weights = json.loads(Path(flag(ensembler, "--recipe")).read_text()), read_recipe(DEFAULT_RECIPE).weights
    assert recipe == {
        "vote": "soft",
        "detector_weight": 0.0,
        "detector": {"name": "detector", "address": detector.address, "timeout": 20},
        "classifiers": [
            {"name": "efficientnet", "address": efficientnet.address, "weight": weights[0], "timeout": 20},
            {"name": "arcface", "address": arcface.address, "weight": weights[1], "timeout": 20},
        ],
    }
    assert read_recipe(Path(flag(ensembler, "--recipe"))).detector.address == detector.address
    addresses = [spec.address for spec in specs] + [spec.metrics for spec in specs if spec.metrics]
    assert len(set(addresses)) == 11


def test_ports_follow(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "refusal", lambda host, port: None)
    first, metrics = 50_051, 9090
    specs = plan(ClusterSettings(port=first, metrics_port=metrics, models_dir=models, cache=False), tmp_path)
    assert [spec.address for spec in specs] == [f"127.0.0.1:{first + n}" for n in range(5)]
    assert [spec.metrics for spec in specs] == [f"127.0.0.1:{metrics + n}" for n in range(5)]


def test_http_is_the_gateways_and_off_unless_asked_for(models: Path, tmp_path: Path) -> None:
    silent, *_ = plan(ClusterSettings(port=0, models_dir=models), tmp_path)
    assert silent.http == ""
    assert "--http-port" not in silent.command
    gateway, *others = plan(ClusterSettings(port=0, models_dir=models, http_port=8080), tmp_path)
    assert gateway.http == f"127.0.0.1:{flag(gateway, '--http-port')}"
    assert gateway.http not in {"127.0.0.1:8080", gateway.address}, "two clusters may run side by side"
    assert not any(other.http for other in others)


def test_a_taken_http_port_is_named(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = OSError(errno.EADDRINUSE, "Address already in use")
    monkeypatch.setattr(ports, "refusal", lambda host, port: taken if port == 8080 else None)
    with pytest.raises(ClusterError, match="--http-port"):
        plan(ClusterSettings(models_dir=models, http_port=8080), tmp_path)


def test_replicas_are_called_together(models: Path, tmp_path: Path) -> None:
    replicas = {"classifier": 2, "arcface": 3, "detector": 2, "ensembler": 2}
    specs = plan(ClusterSettings(port=0, models_dir=models, replicas=replicas), tmp_path)
    by_name = {spec.name: spec for spec in specs}
    assert {"classifier-efficientnet-2", "classifier-arcface-3", "detector-2", "ensembler-2"} <= by_name.keys()
    assert "classifier-efficientnet-3" not in by_name
    together = f"{by_name['ensembler'].address},{by_name['ensembler-2'].address}"
    assert flag(by_name["gateway"], "--ensembler-address") == together
    recipe = json.loads(Path(flag(by_name["ensembler"], "--recipe")).read_text())
    assert recipe["detector"]["address"] == f"{by_name['detector'].address},{by_name['detector-2'].address}"
    assert recipe["classifiers"][1]["address"].count(",") == 2


def test_flags_reach_the_model_services(models: Path, tmp_path: Path) -> None:
    settings = ClusterSettings(
        port=0, models_dir=models, optimized=True, batch_size=8, threads=1, device="cuda", engine_cache=tmp_path
    )
    for spec in plan(settings, tmp_path):
        if spec.stage == 2:
            assert "--optimized" in spec.command
            assert flag(spec, "--max-batch") == "8"
            assert flag(spec, "--threads") == "1"
            assert flag(spec, "--device") == "cuda"
            assert flag(spec, "--engine-cache") == str(tmp_path)
            assert flag(spec, "--models-dir") == str(models)


def test_the_cache_is_a_choice(models: Path, tmp_path: Path) -> None:
    off = plan(ClusterSettings(port=0, models_dir=models, cache=False), tmp_path)
    assert "--no-cache-enabled" in off[0].command
    assert all(spec.name != "valkey" for spec in off)
    own = plan(ClusterSettings(port=0, models_dir=models, redis_url="redis://cache:6379/0"), tmp_path)
    assert own[0].environment == {"FERRY_REDIS_URL": "redis://cache:6379/0"}
    assert all(spec.name != "valkey" for spec in own)
    memory = plan(ClusterSettings(port=0, models_dir=models, embedded_redis=False), tmp_path)
    assert not memory[0].environment
    assert "--cache-enabled" in memory[0].command


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_a_password_is_in_no_command(models: Path, tmp_path: Path, processes: int) -> None:
    cache, jobs = "redis://:s3krit@cache:6379/0", "redis://:s3krit@jobs:6379/0"
    settings = ClusterSettings(
        port=0,
        models_dir=models,
        processes=processes,
        redis_url=cache,
        jobs_redis_url=jobs,
        jobs=True,
        jobs_key=tmp_path,
    )
    specs = plan(settings, tmp_path)
    assert "s3krit" not in f"{specs}"
    for spec in specs[: processes or 1]:
        assert spec.environment == {"FERRY_REDIS_URL": cache, "FERRY_JOBS_REDIS_URL": jobs}


def test_valkey_writes_nothing_to_disk(models: Path, tmp_path: Path) -> None:
    valkey = plan(ClusterSettings(port=0, models_dir=models), tmp_path)[-1]
    assert flag(valkey, "--save") == ""
    assert flag(valkey, "--appendonly") == "no"
    assert flag(valkey, "--port") == "0"
    assert flag(valkey, "--unixsocketperm") == "700"


def test_only_the_gateway_listens_outside(models: Path, tmp_path: Path) -> None:
    specs = plan(ClusterSettings(host="0.0.0.0", port=0, models_dir=models, cache=False), tmp_path)
    assert flag(specs[0], "--host") == "0.0.0.0"
    assert specs[0].address.startswith("127.0.0.1:")
    assert {flag(spec, "--host") for spec in specs[1:]} == {"127.0.0.1"}


def test_own_classifiers(models: Path, tmp_path: Path) -> None:
    specs = plan(ClusterSettings(port=0, models_dir=models, classifiers={"mine": 1.0}, cache=False), tmp_path)
    assert [spec.name for spec in specs] == ["gateway", "ensembler", "detector", "classifier-mine"]


def test_a_later_classifier_may_be_asked_about_unsure_faces_alone(models: Path, tmp_path: Path) -> None:
    settings = ClusterSettings(port=0, models_dir=models, ask_below={"arcface": 0.6})
    _, ensembler, *_ = plan(settings, tmp_path)
    written = read_recipe(Path(flag(ensembler, "--recipe")))
    assert [(entry.name, entry.ask_below) for entry in written.classifiers] == [
        ("efficientnet", None),
        ("arcface", 0.6),
    ]


def test_a_missing_model_is_named(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"no model 'teapot'.*--models-dir"):
        plan(ClusterSettings(port=0, models_dir=models, classifiers={"teapot": 1.0}), tmp_path)


def test_a_taken_port_is_named(models: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ClusterError, match=f"port {port} is taken.*--port"):
            plan(ClusterSettings(port=port, models_dir=models), tmp_path)


@pytest.mark.parametrize(("processes", "elsewhere"), [(0, 1), (1, 1), (2, 2)])
def test_metrics_ports_are_looked_for_where_they_are_listened_on(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int, elsewhere: int
) -> None:
    """Of processes that face callers that is the gateway's address; the others' is this machine's own."""
    settings = ClusterSettings(
        host="127.0.0.2", port=21_000, metrics_port=22_000, models_dir=models, processes=processes, cache=False
    )
    taken = OSError(errno.EADDRINUSE, "Address already in use")
    own = range(22_000, 22_000 + elsewhere)
    monkeypatch.setattr(ports, "refusal", lambda host, port: taken if host == "127.0.0.1" and port in own else None)
    plan(settings, tmp_path)
    last = own[-1]
    monkeypatch.setattr(ports, "refusal", lambda host, port: taken if (host, port) == ("127.0.0.2", last) else None)
    with pytest.raises(ClusterError, match=f"port {last} is taken.*--metrics-port"):
        plan(settings, tmp_path)


@pytest.mark.parametrize("host", ["256.0.0.1", "192.0.2.1", "ä..b", "[2001:db8::1]"])
@pytest.mark.parametrize("processes", [0, 2])
def test_a_host_that_is_not_this_machine_is_named(models: Path, tmp_path: Path, host: str, processes: int) -> None:
    settings = ClusterSettings(host=host, port=ports.free(1)[0], models_dir=models, processes=processes)
    with pytest.raises(ClusterError, match=r"is no address of this machine.* --host$") as raised:
        plan(settings, tmp_path)
    assert str(raised.value).startswith(host)


def test_a_port_that_others_alone_may_open_is_not_said_to_be_taken(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "refusal", lambda host, port: PermissionError(errno.EACCES, "Permission denied"))
    with pytest.raises(ClusterError, match="may not open port 80; choose another with --port"):
        plan(ClusterSettings(port=80, models_dir=models), tmp_path)


def test_ports_beyond_the_last(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="choose a lower --port"):
        plan(ClusterSettings(port=65_534, models_dir=models), tmp_path)


def test_all_services_in_one_process(models: Path, tmp_path: Path) -> None:
    one, valkey = plan(ClusterSettings(port=0, models_dir=models, processes=1, runs=3, threads=2), tmp_path)
    assert (one.name, valkey.name) == ("ferry", "valkey")
    assert one.command[:2] == ("-m", "single")
    assert one.environment == {"FERRY_REDIS_URL": valkey.address}
    assert (flag(one, "--runs"), flag(one, "--threads")) == ("3", "2")
    assert read_recipe(Path(flag(one, "--recipe"))).classifiers[0].name == "efficientnet"
    assert "--reuse-port" not in one.command


def test_several_processes_share_the_port_and_have_a_port_each_for_health(models: Path, tmp_path: Path) -> None:
    specs = plan(ClusterSettings(port=0, models_dir=models, processes=3, cache=False), tmp_path)
    assert [spec.name for spec in specs] == ["ferry", "ferry-2", "ferry-3"]
    assert len({spec.address for spec in specs}) == 1
    assert len({spec.metrics for spec in specs} | {flag(spec, "--health-port") for spec in specs}) == 6
    assert all("--reuse-port" in spec.command for spec in specs)


@pytest.mark.parametrize(("cpus", "shares"), [(2, "111"), (3, "111"), (8, "332")])
def test_several_processes_share_the_cpus_out(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: int, shares: str
) -> None:
    monkeypatch.setattr("cli.cluster.plan.available_cpus", lambda: cpus)
    specs = plan(ClusterSettings(port=0, models_dir=models, processes=3, cache=False), tmp_path)
    assert "".join(flag(spec, "--cpus") for spec in specs) == shares
    (one,) = plan(ClusterSettings(port=0, models_dir=models, processes=1, cache=False), tmp_path)
    assert "--cpus" not in one.command


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_with_tls_each_process_has_a_port_for_its_health_that_speaks_none(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setenv("FERRY_TLS_CERT", "tls.crt")
    specs = plan(ClusterSettings(port=0, models_dir=models, processes=processes, cache=False), tmp_path)
    health = [f"127.0.0.1:{flag(spec, '--health-port')}" for spec in specs]
    assert len({*health, *(spec.address for spec in specs)}) == len(health) + len({spec.address for spec in specs})
    assert [spec.is_ready.args for spec in specs] == [(address,) for address in health]  # type: ignore[attr-defined]


def test_free_ports_differ() -> None:
    found = ports.free(50)
    assert len(set(found)) == 50
    assert all(ports.is_free("127.0.0.1", port) for port in found)


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicas": {"gateway": 2}},
        {"replicas": {"detector": 0}},
        {"replicas": {"detector": 1000}},
        {"processes": 33},
        {"processes": 2, "replicas": {"detector": 2}},
        {"classifiers": {}},
        {"vote": "loud"},
        {"redis_url": "localhost:6379"},
        {"classifiers": {"mine": float("nan")}},
        {"classifiers": {"mine": -1}},
        {"ask_below": {"efficientnet": 0.5}},
        {"ask_below": {"arcface": 0.0}},
        {"detector_weight": float("inf")},
        {"classifiers": {"mine": 0}, "detector_weight": 0},
    ],
)
def test_settings_that_make_no_cluster(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"replicas|processes|classifier|vote|redis-url|weight|ask_below"):
        ClusterSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("processes", [0, 1, 2])
@pytest.mark.parametrize("option", ["--port", "--metrics-port", "--http-port"])
def test_the_flag_of_a_taken_port_is_named(models: Path, tmp_path: Path, option: str, processes: int) -> None:
    first, metrics, http = ports.free(3)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        chosen = {"--port": first, "--metrics-port": metrics, "--http-port": http, option: port}
        fields = {flag[2:].replace("-", "_"): number for flag, number in chosen.items()}
        with pytest.raises(ClusterError, match=rf"port {port} is taken.* with {option} \("):
            plan(ClusterSettings(models_dir=models, processes=processes, **fields), tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_ports_that_two_flags_choose_are_named(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr(ports, "refusal", lambda host, port: None)
    for fields, said in (
        ({"port": 5000, "metrics_port": 5000}, "port 5000 is chosen twice, by --port and by --metrics-port"),
        (
            {"port": 8080, "metrics_port": 9090, "http_port": 8080},
            "port 8080 is chosen twice, by --port and by --http-",
        ),
        ({"port": 5000, "metrics_port": 9090, "http_port": 9090}, "by --metrics-port and by --http-port"),
    ):
        with pytest.raises(ClusterError, match=said):
            plan(ClusterSettings(models_dir=models, processes=processes, **fields), tmp_path)
