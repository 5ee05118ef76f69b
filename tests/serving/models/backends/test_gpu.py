"""A GPU is used where there is one; where there is none, the CPU does the work or the error says what is missing."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from serving.models import tuning
from serving.models.backends import ModelLoadError, engines, gpu, installed, load_backend
from serving.models.backends.buckets import bucket_for, bucket_sizes, parts
from serving.models.backends.engines import EngineCache, EngineError, EngineKey, engine_key
from serving.models.backends.gpu import PROVIDERS, Gpu, GpuMissingError, GpuSettings
from serving.models.backends.gpu_runtime import GRAPH_ID
from serving.models.backends.providers import GpuPlan, provider_list
from serving.models.tuning import Candidate, Measurement
from serving.repository.repository import ModelRepository, StoredModel
from tests.full_disk import full_disk
from tests.serving.models.backends.fake_gpu import H100, FakeOrt, answer, install, remove
from tests.tiny_models import SIDE, add_variant, classifier_graph, classifier_manifest, publish

PLAN = GpuPlan("images", (1, SIDE, SIDE), bucket_sizes(16))
KEY = EngineKey("0" * 64, "fp16", (1, 48, 48), (1, 4, 16), "1.31.1", "10.13.3", H100.name, "9.0")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeOrt:
    return install(monkeypatch)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredModel:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = publish(tmp_path / "models", classifier_manifest(), classifier_graph())
    add_variant(directory, classifier_graph(), ("onnxruntime", "tensorrt"))
    return ModelRepository(tmp_path / "models").open("tiny", "1")


@pytest.fixture
def settings(tmp_path: Path) -> GpuSettings:
    return GpuSettings(16, tmp_path / "engines")


def rows(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(count).random((count, 1, SIDE, SIDE), np.float32)


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, (1,)), (2, (1, 2)), (16, (1, 2, 4, 8, 16)), (20, (1, 2, 4, 8, 16, 20))]
)
def test_buckets_are_powers_of_two_and_the_largest_batch(largest: int, sizes: tuple[int, ...]) -> None:
    assert bucket_sizes(largest) == sizes


def test_a_batch_goes_into_the_smallest_bucket_that_holds_it() -> None:
    buckets = bucket_sizes(8)
    assert [bucket_for(n, buckets) for n in (1, 2, 3, 5, 8, 9)] == [1, 2, 4, 8, 8, 8]
    cut = [(bucket, len(part)) for bucket, part in parts(rows(19), buckets)]
    assert cut == [(8, 8), (8, 8), (4, 3)]


@pytest.mark.parametrize("backend", ["cuda", "tensorrt"])
@pytest.mark.parametrize("count", [1, 3, 16, 37])
def test_padding_is_not_seen_in_the_answers(fake: FakeOrt, tmp_path: Path, backend: str, count: int) -> None:
    precision = "fp32" if backend == "cuda" else "fp16"
    model = load_backend(tmp_path / "m", backend=backend, precision=precision, plan=replace(PLAN, engines=tmp_path))
    for values in (np.ones((16, 1, SIDE, SIDE), np.float32), rows(count)):
        outputs = model.run(values)
    assert outputs["logits"].shape == (count, 7)
    np.testing.assert_allclose(outputs["logits"], answer(rows(count)))
    assert (model.device, model.name) == ("cuda", backend)


def test_answers_are_not_overwritten_by_the_next_run(fake: FakeOrt) -> None:
    model = load_backend(Path("m"), backend="cuda", plan=PLAN)
    first = model.run(rows(2))["logits"]
    kept = first.copy()
    model.run(rows(3)[:2])
    np.testing.assert_array_equal(first, kept)


def test_each_bucket_replays_a_graph_of_its_own_on_one_thread(fake: FakeOrt) -> None:
    model = load_backend(Path("m"), backend="cuda", plan=PLAN)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: model.run(rows(n)), [1, 2, 3, 4, 7, 16, 1]))
    (session,) = fake.sessions
    assert {graph for _, graph in session.bound_runs} == {"1", "2", "4", "8", "16"}
    assert all(str(size) == graph for size, graph in session.bound_runs)
    assert len(session.threads) == 1


def test_buckets_can_have_sessions_of_their_own(fake: FakeOrt) -> None:
    model = load_backend(Path("m"), backend="cuda", plan=replace(PLAN, fixed=True))
    for count in (1, 3, 4, 16):
        np.testing.assert_allclose(model.run(rows(count))["logits"], answer(rows(count)))
    assert [session.rows for session in fake.sessions] == [None, 1, 4, 16]
    assert [session.bound_runs for session in fake.sessions] == [[], [(1, "1")], [(4, "4")] * 2, [(16, "16")]]


@pytest.mark.skipif(sys.platform != "linux", reason="libraries have other names")
def test_the_runtime_knows_the_option_that_names_a_graph() -> None:
    libraries = [file for file in (Path(onnxruntime.__file__).parent / "capi").iterdir() if ".so" in file.name]
    assert any(GRAPH_ID.encode() + b"\0" in library.read_bytes() for library in libraries)


def test_graphs_can_be_left_out(fake: FakeOrt) -> None:
    model = load_backend(Path("m"), backend="cuda", plan=replace(PLAN, graphs=False))
    np.testing.assert_allclose(model.run(rows(2))["logits"], answer(rows(2)))
    assert [session.graphs for session in fake.sessions] == [False]


def test_a_model_that_allows_no_graphs_runs_without_them(fake: FakeOrt, caplog: pytest.LogCaptureFixture) -> None:
    fake.graphs_refused = True
    model = load_backend(Path("m"), backend="cuda", plan=PLAN)
    np.testing.assert_allclose(model.run(rows(2))["logits"], answer(rows(2)))
    assert fake.sessions[-1].bound_runs == [(2, None)]
    assert "m runs without CUDA graphs: no such session" in caplog.text


def test_a_graph_that_cannot_be_recorded_is_done_without(fake: FakeOrt) -> None:
    model = load_backend(Path("m"), backend="cuda", plan=PLAN)
    fake.capture_fails = True
    np.testing.assert_allclose(model.run(rows(2))["logits"], answer(rows(2)))
    assert [session.graphs for session in fake.sessions] == [True, False]


def test_a_provider_that_does_not_load_is_an_error_and_not_the_cpu(fake: FakeOrt) -> None:
    fake.loads = {"CPUExecutionProvider"}
    with pytest.raises(ModelLoadError, match="CUDAExecutionProvider could not be loaded"):
        load_backend(Path("m"), backend="cuda", plan=PLAN)


def test_what_is_no_model_is_a_load_error(fake: FakeOrt) -> None:
    fake.broken = True
    with pytest.raises(ModelLoadError, match="no such session"):
        load_backend(Path("m"), backend="cuda", plan=PLAN)


def test_a_gpu_wants_a_plan_and_a_precision_that_it_has() -> None:
    with pytest.raises(ValueError, match="plan"):
        load_backend(Path("m"), backend="cuda")
    with pytest.raises(ValueError, match="no backend"):
        load_backend(Path("m"), backend="tensorrt", precision="fp32", plan=PLAN)


def test_cuda_searches_no_algorithms_and_keeps_to_float32() -> None:
    (name, options), cpu = provider_list("cuda", PLAN, "fp32", graphs=True)
    assert (name, cpu) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"  # type: ignore[index]
    assert options["use_tf32"] == "0"  # type: ignore[index]
    assert options["enable_cuda_graph"] == "1"  # type: ignore[index]
    (_, options), _ = provider_list("cuda", replace(PLAN, tf32=True), "fp32", graphs=False)
    assert options["use_tf32"] == "1"  # type: ignore[index]


@pytest.mark.parametrize(("precision", "int8"), [("fp16", "0"), ("int8", "1")])
def test_tensorrt_gets_its_caches_and_the_shapes_of_the_buckets(precision: str, int8: str) -> None:
    plan = replace(PLAN, engines=Path("/cache/key"))
    (name, options), (behind, _), cpu = provider_list("tensorrt", plan, precision, graphs=False)
    assert [name, behind, cpu] == [PROVIDERS["tensorrt"], PROVIDERS["cuda"], "CPUExecutionProvider"]
    assert isinstance(options, dict)
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("1", int8)
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == "/cache/key"
    shapes = [options[f"trt_profile_{which}_shapes"] for which in ("min", "opt", "max")]
    assert shapes == [f"images:{n}x1x{SIDE}x{SIDE}" for n in (1, 4, 16)]


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "1" * 64},
        {"precision": "int8"},
        {"shape": (3, 48, 48)},
        {"profile": (1, 4, 32)},
        {"onnxruntime": "1.32.0"},
        {"tensorrt": "10.14.1"},
        {"gpu": "NVIDIA L4"},
        {"compute_capability": "8.9"},
    ],
)
def test_an_engine_is_used_for_nothing_else(tmp_path: Path, change: dict[str, object]) -> None:
    cache, other = EngineCache(tmp_path), replace(KEY, **change)  # type: ignore[arg-type]
    with cache.building(KEY) as folder:
        (folder / "a.engine").write_bytes(b"")
    assert cache.has(KEY)
    assert not cache.has(other)
    assert KEY.folder != other.folder
    (tmp_path / KEY.folder).rename(tmp_path / other.folder)  # moved by hand: the key inside does not fit
    assert not cache.has(other)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", "[" * 100_000])
def test_a_damaged_key_is_no_engine(tmp_path: Path, content: str) -> None:
    cache = EngineCache(tmp_path)
    for _ in range(2):  # and it is built again over the damage
        with cache.building(KEY) as folder:
            (folder / "a.engine").write_bytes(b"")
        assert cache.has(KEY)
        (cache.folder(KEY) / "engine.json").write_text(content)
        assert not cache.has(KEY)


def test_a_build_that_ends_badly_leaves_nothing(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)

    def fail_while_building() -> None:
        with cache.building(KEY) as folder:
            (folder / "a.engine").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_while_building()
    with pytest.raises(EngineError, match="took no part"), cache.building(KEY):
        pass
    assert list(tmp_path.iterdir()) == []


def test_of_two_builds_at_once_one_stays(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    with cache.building(KEY) as one, cache.building(KEY) as other:
        for folder, content in ((one, b"one"), (other, b"other")):
            (folder / "a.engine").write_bytes(content)
    assert cache.has(KEY)
    assert (cache.folder(KEY) / "a.engine").read_bytes() == b"other"
    assert [path.name for path in tmp_path.iterdir()] == [KEY.folder]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = EngineCache(tmp_path / "file" / "engines")
    with pytest.raises(EngineError, match="--engine-cache or FERRY_ENGINE_CACHE"), cache.building(KEY):
        pass


def test_on_a_full_disk_no_engine_is_kept_and_the_one_there_stays(tmp_path: Path) -> None:
    cache, other = EngineCache(tmp_path), replace(KEY, precision="int8")
    with cache.building(KEY) as folder:
        (folder / "a.engine").write_bytes(b"")
    with full_disk(10), pytest.raises(EngineError, match="cannot be kept as"), cache.building(other) as folder:
        (folder / "a.engine").write_bytes(b"")
    assert [path.name for path in tmp_path.iterdir()] == [KEY.folder]
    assert cache.has(KEY)


def test_engines_are_built_once_and_found_again(fake: FakeOrt, stored: StoredModel, settings: GpuSettings) -> None:
    assert not engines.is_built(stored, "fp16", "default", settings)
    folder = engines.build(stored, "fp16", "default", settings)
    assert engines.is_built(stored, "fp16", "default", settings)
    assert not engines.is_built(stored, "int8", "int8", settings)
    assert not engines.is_built(stored, "fp16", "default", replace(settings, max_batch=32))
    kept = json.loads((folder / "engine.json").read_text())
    assert kept["digest"] == stored.manifest.files["model.onnx"]
    assert (kept["gpu"], kept["compute_capability"], kept["tensorrt"]) == (H100.name, "9.0", "10.13.3")

    fake.sessions.clear()
    engines.load_on_gpu(stored, "tensorrt", "fp16", "default", settings)
    (session,) = fake.sessions
    assert session.options[PROVIDERS["tensorrt"]]["trt_engine_cache_path"] == str(folder)


def test_an_engine_of_another_gpu_is_not_taken(
    fake: FakeOrt, stored: StoredModel, settings: GpuSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines.build(stored, "fp16", "default", settings)
    install(monkeypatch, card=Gpu("NVIDIA L4", "8.9"))
    assert not engines.is_built(stored, "fp16", "default", settings)


def test_where_there_is_a_gpu_its_ways_are_offered(fake: FakeOrt, stored: StoredModel) -> None:
    kinds = {c.arithmetic for c in tuning.candidates(1, (1,), reduced=True, manifest=stored.manifest)}
    assert {("cuda", "fp32", "default"), ("tensorrt", "fp16", "default"), ("tensorrt", "int8", "int8")} <= kinds
    assert ("cuda", "int8", "int8") not in kinds  # it has passed no gate there
    in_full = {c.backend for c in tuning.candidates(1, (1,), reduced=False, manifest=stored.manifest)}
    assert in_full == {*installed(), "cuda"}


def test_without_tensorrt_cuda_is_left(monkeypatch: pytest.MonkeyPatch, stored: StoredModel) -> None:
    install(monkeypatch, tensorrt=False)
    offered = tuning.candidates(1, (1,), reduced=True, manifest=stored.manifest)
    assert {c.backend for c in offered} == {*installed(), "cuda"}
    with pytest.raises(GpuMissingError, match="TensorRT 10 is not installed"):
        tuning.choose(stored, backend="tensorrt", reduced=True)


def kept(stored: StoredModel, **run_ms: float) -> None:
    kinds = {
        "cpu": ("onnxruntime", "fp32", "default"),
        "vino": ("openvino", "fp32", "default"),
        "cuda": ("cuda", "fp32", "default"),
        "half": ("tensorrt", "fp16", "default"),
        "int8": ("onnxruntime", "int8", "int8"),
        "bf16": ("openvino", "bf16", "default"),
    }
    found = [
        Measurement(Candidate(backend, precision, 1, 1, variant), 1000 / ms, ms, 0.0)
        for name, ms in run_ms.items()
        for backend, precision, variant in [kinds[name]]
    ]
    tuning.write(stored, found)


@pytest.mark.parametrize(
    ("processor", "more", "reduced_on_cpu"),
    [("plain", {}, ("onnxruntime", "int8")), ("bf16", {"bf16": 1.5}, ("openvino", "bf16"))],
    indirect=["processor"],
)
def test_the_choice_keeps_to_the_device(
    fake: FakeOrt,
    stored: StoredModel,
    settings: GpuSettings,
    more: dict[str, float],
    reduced_on_cpu: tuple[str, str],
) -> None:
    kept(stored, cpu=4, vino=3, cuda=1, half=0.5, int8=2, **more)

    def chosen(**how: object) -> tuple[str, str]:
        how_to = tuning.choose(stored, threads=1, runs=1, gpu=settings, **how)  # type: ignore[arg-type]
        return how_to.backend, how_to.precision

    assert chosen() == ("cuda", "fp32")
    assert chosen(device="cpu") == ("openvino", "fp32")
    assert chosen(device="cpu", reduced=True) == reduced_on_cpu
    assert chosen(device="cuda") == ("cuda", "fp32")
    assert chosen(reduced=True) == ("cuda", "fp32")  # TensorRT was the fastest, but its engine is not there
    engines.build(stored, "fp16", "default", settings)
    assert chosen(reduced=True) == ("tensorrt", "fp16")
    assert chosen(reduced=True, backend="cuda") == ("cuda", "fp32")
    assert chosen() == ("cuda", "fp32")


def test_a_gpu_that_is_slower_is_not_taken(fake: FakeOrt, stored: StoredModel, settings: GpuSettings) -> None:
    kept(stored, cpu=4, vino=0.5, cuda=1)
    assert tuning.choose(stored, threads=1, runs=1, gpu=settings).backend == "openvino"


def test_measurements_of_a_gpu_that_is_gone_do_not_count(stored: StoredModel, monkeypatch: pytest.MonkeyPatch) -> None:
    remove(monkeypatch)
    kept(stored, cpu=4, vino=3, cuda=1)
    assert tuning.choose(stored, threads=1, runs=1).backend == "openvino"


def test_the_gpu_is_part_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    remove(monkeypatch)
    without = tuning.machine_id()
    install(monkeypatch)
    with_it = tuning.machine_id()
    install(monkeypatch, card=Gpu("NVIDIA L4", "8.9"))
    assert len({without, with_it, tuning.machine_id()}) == 3


def test_auto_falls_back_to_the_cpu_when_the_gpu_fails(
    fake: FakeOrt, stored: StoredModel, settings: GpuSettings, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("openvino")
    kept(stored, cpu=4, vino=3, cuda=1)
    fake.broken = True
    _, backend = tuning.open_fastest(stored, threads=1, runs=1, gpu=settings)
    assert (backend.name, backend.device) == ("openvino", "cpu")
    assert "the CPU takes its place" in caplog.text
    with pytest.raises(ModelLoadError):
        tuning.open_fastest(stored, threads=1, runs=1, gpu=settings, device="cuda")


@pytest.mark.parametrize("how", [{"device": "cuda"}, {"backend": "cuda"}, {"backend": "tensorrt", "reduced": True}])
def test_a_gpu_that_is_not_there_is_said_in_one_line(
    stored: StoredModel, monkeypatch: pytest.MonkeyPatch, how: dict[str, object]
) -> None:
    remove(monkeypatch)
    with pytest.raises(GpuMissingError) as raised:
        tuning.open_fastest(stored, **how)  # type: ignore[arg-type]
    message = str(raised.value)
    assert "no NVIDIA GPU with a driver is visible" in message
    assert "onnxruntime-gpu" in message
    assert "\n" not in message
    assert tuning.open_fastest(stored, threads=1, runs=1, backend="onnxruntime")[1].device == "cpu"


def test_this_machine_can_be_asked() -> None:
    found = gpu.find_gpu()
    assert found is None or found.name
    assert (gpu.tensorrt_version() or "10.0.0").count(".") == 2
    assert gpu.runtime_version() != "unknown"
    assert bool(gpu.lacks("cuda")) == (found is None or PROVIDERS["cuda"] not in gpu.providers())


def test_the_key_names_file_and_machine(fake: FakeOrt, stored: StoredModel) -> None:
    key = engine_key(stored, "int8", "int8", H100, 16)
    assert key.digest == stored.manifest.files["model.int8.onnx"]
    assert key.shape == (1, SIDE, SIDE)
    assert key.profile == (1, 4, 16)
    assert key.folder.startswith("nvidia-h100-80gb-hbm3-int8-")
