"""Typed settings from environment variables (`FERRY_...`) and flags, checked at start.

Each service subclasses ServiceSettings. A flag beats a variable, a variable beats the default.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, CliApp, NoDecode, SettingsConfigDict, SettingsError

from ferry.tls import Tls
from serving.faults import words

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
Patience = Annotated[
    Seconds,
    Field(
        description="seconds that a service behind this one may have had no replica before calls fail; until then they "
        "wait for one, within their callers' time"
    ),
]
DEFAULT_PATIENCE = 15.0
"""Seconds; a service of Ferry restarts in three to five."""


def _names(given: Any) -> Any:
    """A list of names, from JSON or from a text with commas."""
    if isinstance(given, str):
        text = given.strip()
        if not text.startswith("["):
            return [name.strip() for name in text.split(",") if name.strip()]
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("must be names with commas, or a list in JSON") from None
    return given


_OTLP = re.compile(r"(?:https?://)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})/?")


def _otlp(endpoint: str) -> str:
    known = _OTLP.fullmatch(endpoint)
    if known is None or not 1 <= int(known[1]) <= 65535:
        raise ValueError(
            "must be http://host:port, or https://host:port for TLS, without a path, a user and a password"
        )
    return endpoint


Names = Annotated[frozenset[str], NoDecode, BeforeValidator(_names)]
Cpus = Annotated[
    int,
    Field(ge=0, le=1024, description="CPUs for its models, where others share the machine; 0: all that it may use"),
]
SECRET: dict[str, JsonValue] = {"secret": True}
"""`json_schema_extra` of a field that may hold a password: its value is never printed."""


class ServiceSettings(BaseSettings):
    """What every service has."""

    model_config = SettingsConfigDict(
        env_prefix="FERRY_",
        extra="ignore",
        frozen=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 or [::] in a container")
    port: Port = Field(default=0, description="gRPC port")
    reuse_port: bool = Field(
        default=False,
        description="share the gRPC port with other processes (SO_REUSEPORT); it opens when all is loaded, so that "
        "probes need a health port",
    )
    metrics_port: Port = Field(default=0, description="Prometheus metrics over HTTP; 0: none")
    log_level: str = Field(
        default="info", pattern="^(debug|info|warning|error)$", description="the least that is written to the log"
    )
    default_timeout: Seconds = Field(default=30.0, description="seconds for a call without a deadline")
    max_timeout: Seconds = Field(default=300.0, description="seconds no call may exceed, streams excepted")
    max_stream_age: Seconds = Field(
        default=3600.0, description="seconds that no stream may exceed; its caller opens a new one"
    )
    max_streams: int = Field(
        default=8,
        ge=1,
        le=1024,
        description="streams of requests open at once; each has room for a message beside those of max_receive_bytes",
    )
    receive_timeout: Seconds = Field(
        default=30.0, description="seconds for a request to arrive in full, whatever deadline its caller set"
    )
    max_receive_bytes: int = Field(
        default=256 << 20,
        ge=1 << 20,
        le=1 << 36,
        description="bytes of requests being received at once, each counted as the largest; one is always let in",
    )
    max_calls: int = Field(default=1000, ge=1, le=65536, description="calls open at once")
    max_connections: int = Field(default=1000, ge=1, le=65536, description="connections open at once")
    max_connection_calls: int = Field(default=256, ge=1, le=65536, description="calls open at once on one connection")
    drain_delay: Annotated[float, Field(ge=0, le=300)] = Field(
        default=0.0, description="seconds between NOT_SERVING and the end of listening, for callers to hear of it"
    )
    grace: Seconds = Field(default=20.0, description="seconds in-flight calls have to finish after SIGTERM")
    max_connection_age: Seconds = Field(
        default=60.0, description="seconds after which a caller's connection is renewed, so that it finds new replicas"
    )
    tls_cert: Path | None = Field(default=None, description="PEM certificate of this service; none: no TLS")
    tls_key: Path | None = Field(default=None, validate_default=True, description="PEM private key of tls_cert")
    tls_ca: Path | None = Field(
        default=None,
        validate_default=True,
        description="PEM authorities: callers must have a certificate of theirs, and so must services that are called",
    )
    health_port: Port = Field(
        default=0, description="health alone, without TLS, for probes that do not speak it; 0: none"
    )
    access_log: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="share of the calls that succeed that get a line in the log; those that fail do anyway"
    )
    otlp_endpoint: Annotated[str, AfterValidator(_otlp)] | None = Field(
        default=None,
        description="OTLP/gRPC address for traces, http://host:port or https://host:port; none: tracing is off",
        json_schema_extra=SECRET,
    )
    trace_sample_ratio: Annotated[float, Field(ge=0, le=1)] = Field(default=0.1, description="share of traces kept")

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_empty_path(cls, value: object, info: ValidationInfo) -> object:
        # To pydantic it is the current folder, and to whoever left it empty it meant something else.
        if value == "" and Path in _kinds(cls.model_fields[info.field_name or ""].annotation):
            raise ValueError("is empty; name a file, or leave it out")
        return value

    @field_validator("tls_key")
    @classmethod
    def _goes_with_the_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if "tls_cert" in info.data and (key is None) != (info.data["tls_cert"] is None):
            missing, other = ("tls_key", "tls_cert") if key is None else ("tls_cert", "tls_key")
            raise ValueError(f"{missing} is missing; it goes with {other}")
        return key

    @field_validator("tls_ca")
    @classmethod
    def _needs_a_certificate(cls, ca: Path | None, info: ValidationInfo) -> Path | None:
        if ca is not None and info.data.get("tls_cert") is None:
            raise ValueError("needs tls_cert and tls_key: without them nothing is encrypted")
        return ca

    @property
    def tls(self) -> Tls | None:
        """Certificates of this service, as server and as caller; None without TLS."""
        return None if self.tls_cert is None else Tls(self.tls_ca, self.tls_cert, self.tls_key)


class ModelServiceSettings(ServiceSettings):
    """What services that run models have besides."""

    models_dir: Path = Field(default=Path("models"), description="the model repository")
    backend: str = Field(
        default="auto",
        pattern="^(auto|onnxruntime|openvino|cuda|tensorrt)$",
        description="auto: the fastest as measured; cuda and tensorrt need a GPU",
    )
    device: str = Field(
        default="auto",
        pattern="^(auto|cpu|cuda)$",
        validate_default=True,
        description="auto: an NVIDIA GPU where there is one and it is faster; cuda: no start without one",
    )
    engine_cache: Path | None = Field(
        default=None, description="folder of TensorRT's engines, trusted like the program; none: the user's cache"
    )
    optimized: bool = Field(
        default=False,
        validate_default=True,
        description="allow less than float32 where tuning found it faster, and first looks",
    )
    cpus: Cpus = 0
    threads: int = Field(default=0, ge=0, le=1024, description="threads of one model run; 0: as measured")
    runs: int = Field(default=0, ge=0, le=1024, description="model runs at once; 0: as measured")
    max_batch: int = Field(default=16, ge=1, le=1024, description="rows of one model run")
    max_wait_ms: Annotated[float, Field(ge=0, le=1000)] = Field(
        default=0.0, description="how long a busy model waits for a batch to fill; an idle one never waits"
    )
    max_queue: int = Field(default=256, ge=1, le=65536, description="requests waiting for a model run")
    reload_interval: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=10.0, description="seconds between looks for new model versions; 0: never"
    )

    @field_validator("device")
    @classmethod
    def _has_the_backend(cls, device: str, info: ValidationInfo) -> str:
        backend = info.data.get("backend", "auto")
        others = {"cpu": ("cuda", "tensorrt"), "cuda": ("onnxruntime", "openvino")}
        if backend in others.get(device, ()):
            raise ValueError(f"backend {backend} does not run on it")
        return device

    @field_validator("optimized")
    @classmethod
    def _is_what_tensorrt_needs(cls, optimized: bool, info: ValidationInfo) -> bool:
        if info.data.get("backend") == "tensorrt" and not optimized:
            raise ValueError("backend tensorrt computes in reduced precision, which this allows")
        return optimized


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) or (annotation,)


SettingsT = TypeVar("SettingsT", bound=BaseSettings)
_LIKE = 0.88
"""Names this alike (difflib's ratio) are a slip of the pen; Ferry's own are less alike, but for ELSEWHERE."""
ELSEWHERE = frozenset({"FERRY_API_KEY", "FERRY_MODEL", "FERRY_MODELS"})
"""Names of a command or of another service, which look like one of a service that does not have them."""


def load(cls: type[SettingsT], arguments: list[str] | None = None) -> SettingsT:
    """Settings from flags and environment; where they do not fit, prints why, field by field, and exits with 2.

    Prints what `misspelt` finds, too.

    Args:
        cls: the settings class.
        arguments: flags; by default those of the process.
    """
    for line in misspelt([cls]):
        print(line, file=sys.stderr)
    try:
        return CliApp.run(cls, cli_args=sys.argv[1:] if arguments is None else arguments)
    except ValidationError as error:
        for problem in error.errors():
            field = ".".join(str(part) for part in problem["loc"]) or "settings"
            variable, flag = f"FERRY_{field.upper()}", f"--{field.replace('_', '-')}"
            hidden = problem.get("input") is None or problem["type"] == "missing" or field in _secrets(cls)
            got = "" if hidden else f", got {problem.get('input')!r}"
            print(f"{flag} (or {variable}): {words(problem)}{got}", file=sys.stderr)
    except SettingsError as error:
        print(f"settings: {error}", file=sys.stderr)
    raise SystemExit(2)


def _secrets(cls: type[BaseSettings]) -> set[str]:
    return {name for name, field in cls.model_fields.items() if field.json_schema_extra == SECRET}


def misspelt(settings: Iterable[type[BaseSettings]]) -> Iterator[str]:
    """A sentence for each variable that is nobody's, but looks like one of theirs.

    Other names are passed over: one environment serves all services, and Kubernetes adds variables of its own.

    Args:
        settings: whose variables are looked for.
    """
    known = {f"FERRY_{field.upper()}" for cls in settings for field in cls.model_fields}
    for name in sorted(os.environ):
        if name.startswith("FERRY_") and name not in known | ELSEWHERE:
            for meant in get_close_matches(name, known, 1, _LIKE):
                yield f"{name} is no setting, and is ignored; did you mean {meant}?"
