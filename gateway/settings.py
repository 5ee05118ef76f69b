"""Settings of the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from gateway.redis_url import SCHEMES, redis_url
from serving.config_file import ConfigFileError, host_and_port
from serving.faces import MAX_FACES
from serving.images.header import MAX_IMAGE_BYTES, MAX_MEGAPIXELS
from serving.settings import DEFAULT_PATIENCE, SECRET, Names, Patience, Port, Seconds, ServiceSettings
from serving.telemetry.scrape import check_endpoint


def _endpoints(text: str) -> str:
    for endpoint in filter(None, text.split(",")):
        check_endpoint(endpoint)
    return text


RedisUrl = Annotated[
    str, AfterValidator(redis_url), WithJsonSchema({"type": "string", "pattern": f"^({'|'.join(SCHEMES)})://"})
]


class GatewaySettings(ServiceSettings):
    """Admits, caches and routes images. Every flag can also be set as FERRY_<NAME>."""

    port: Port = Field(default=50051, description="gRPC port")
    http_port: Port = Field(default=0, description="HTTP beside gRPC; 0: none")
    http_page: bool = Field(default=True, description="a page for browsers at / of the HTTP port")
    public_port: Port = Field(
        default=0, description="gRPC port that people reach this gateway by, for the page; 0: the one it listens on"
    )
    http_hosts: Names = Field(
        default=frozenset(),
        description="names that browsers reach the HTTP port by, besides addresses and this machine's own names, where "
        "it listens on this machine alone and callers need no key; as JSON or with commas",
    )
    metrics_endpoints: Annotated[str, AfterValidator(_endpoints)] = Field(
        default="",
        max_length=4096,
        description="host:port of other processes' metrics, separated by commas, whose figures the page shows",
    )
    max_receive_bytes: int = Field(
        default=128 << 20,
        ge=1 << 20,
        le=1 << 36,
        description="bytes of requests being received at once, each counted as the largest; one is always let in",
    )
    ensembler_address: Annotated[str, AfterValidator(host_and_port)] = Field(
        default="127.0.0.1:50052", min_length=1, max_length=4096, description="host:port of the ensembler"
    )
    routing_file: Path | None = Field(
        default=None, description="TOML file: variants, addresses, weights; none: the ensembler alone, as `stable`"
    )
    routing_interval: Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)] = Field(
        default=2.0, description="seconds between looks whether the routing file has changed"
    )
    allow_forced_variant: bool = Field(default=True, description="let callers choose a variant with x-ferry-variant")
    shadow_concurrency: int = Field(
        default=4, ge=1, le=256, description="copies of images under way at once to variants with a shadow share"
    )
    patience: Patience = DEFAULT_PATIENCE
    pipeline_interval: Seconds = Field(default=2.0, description="seconds between looks at the pipeline's fingerprint")
    pipeline_max_age: Seconds = Field(
        default=60.0, description="seconds without word from the ensembler after which nothing is taken from the cache"
    )
    unready_after: Seconds = Field(
        default=10.0,
        description="seconds without a variant that could answer after which this gateway's health is NOT_SERVING",
    )

    api_keys: Path | None = Field(
        default=None, description="file with NAME and SHA-256 of a key a line; callers need one of the keys"
    )

    cache_enabled: bool = Field(default=True, description="keep answers, for identical images and options")
    cache_ttl: Seconds = Field(default=3600.0, description="seconds an answer is kept, give or take 10 %")
    cache_bytes: int = Field(default=64 << 20, ge=1 << 16, le=1 << 36, description="answers in memory, bytes")
    cache_entries: int = Field(default=65536, ge=1, le=1 << 24, description="answers in memory")

    redis_url: RedisUrl | None = Field(
        default=None,
        description="redis://host:port/db, rediss:// (TLS) or unix:///path, a password in it percent-encoded; none: "
        "answers are kept in memory only",
        json_schema_extra=SECRET,
    )
    redis_timeout: Seconds = Field(default=0.05, description="seconds to connect, to send and to read, each")
    redis_connections: int = Field(default=16, ge=1, le=1024, description="connections to Redis")
    redis_failures: int = Field(default=5, ge=1, le=1000, description="failures in a row after which Redis is left out")
    redis_retry_interval: Seconds = Field(
        default=2.0, description="seconds between looks whether a Redis left out is back"
    )

    record_exposures: bool = Field(
        default=False, validate_default=True, description="keep in Redis what `ferry ab` judges variants by"
    )
    record_days: Annotated[float, Field(gt=0, le=90, allow_inf_nan=False)] = Field(
        default=7.0, description="days that an exposure and its labels are kept"
    )
    record_rate: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] = Field(
        default=20.0,
        description="exposures a second that this gateway keeps, and pairs of a shadow; the rest is counted",
    )
    record_bytes: int = Field(
        default=128 << 20, ge=1 << 20, le=1 << 40, description="bytes of records in Redis, all gateways; the oldest go"
    )
    labelling_clients: Names = Field(
        default=frozenset(), description="names of callers who may label the answers of others, as JSON or with commas"
    )

    jobs_redis_url: RedisUrl | None = Field(
        default=None,
        description="a Redis for jobs alone, which forgets nothing by itself (noeviction); none: no jobs are taken",
        json_schema_extra=SECRET,
    )
    jobs_key: Path | None = Field(
        default=None,
        validate_default=True,
        description="file of keys that encrypt jobs, 64 hexadecimal digits a line; the first one seals, all open",
    )
    jobs_redis_timeout: Seconds = Field(default=2.0, description="seconds to connect, to send and to read, each")
    jobs_concurrency: int = Field(
        default=2, ge=1, le=256, description="jobs worked on at once while no caller is served; while one is: 1"
    )
    jobs_most: int = Field(
        default=10_000, ge=2, le=1 << 24, description="jobs in Redis, results included; a caller with a name: half"
    )
    jobs_bytes: int = Field(
        default=128 << 20, ge=1 << 16, le=1 << 40, description="bytes of jobs in Redis; a caller with a name: half"
    )
    jobs_wait: Seconds = Field(default=86400.0, description="seconds that a job may wait for its result")

    drift_baseline: Path | None = Field(
        default=None,
        description="file of `ferry drift baseline` that answers are compared with; none: they are not",
    )
    drift_window: Annotated[float, Field(ge=60, le=7 * 86400, allow_inf_nan=False)] = Field(
        default=3600.0, description="seconds of answers that are compared with the baseline"
    )

    max_image_bytes: int = Field(default=MAX_IMAGE_BYTES, ge=1, le=60 << 20, description="bytes of an encoded image")
    max_megapixels: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = Field(
        default=MAX_MEGAPIXELS, description="width * height / 10^6 of an image"
    )
    max_faces: int = Field(default=MAX_FACES, ge=1, le=MAX_FACES, description="largest options.max_faces")
    max_batch_images: int = Field(default=256, ge=1, le=256, description="images in one RecognizeBatch")
    batch_concurrency: int = Field(default=16, ge=1, le=256, description="images of one batch worked on at once")
    max_concurrency: int = Field(default=256, ge=1, le=65536, description="images worked on at once, over all calls")
    max_in_flight_bytes: int = Field(
        default=512 << 20, ge=1 << 20, le=1 << 36, description="bytes of images held at once, over all calls"
    )

    @property
    def grpc_public_port(self) -> int:
        """The port that others are told of."""
        return self.public_port or self.port

    def of_file(self, error: ConfigFileError) -> str:
        """Name of the setting whose file `error` is about, such as `routing_file`: its message begins with the file."""
        for name in ("routing_file", "drift_baseline", "jobs_key"):
            path = getattr(self, name)
            if path is not None and str(error).startswith(str(path)):
                return name
        return "routing_file"

    @field_validator("jobs_key")
    @classmethod
    def _goes_with_the_jobs(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if key is None and info.data.get("jobs_redis_url") is not None:
            raise ValueError("is needed with jobs_redis_url: what lies there is encrypted")
        return key

    @field_validator("record_exposures")
    @classmethod
    def _needs_redis(cls, record: bool, info: ValidationInfo) -> bool:
        if record and "redis_url" in info.data and info.data["redis_url"] is None:
            raise ValueError("needs redis_url: what is kept lies in Redis")
        return record
