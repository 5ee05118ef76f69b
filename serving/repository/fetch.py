"""`python -m serving.repository.fetch`: puts models into the repository from HTTP, before a service starts.

Exits with 0 when every version is there and has the digests of its manifest, with 1 and one line that says why not,
with 2 where a setting does not fit.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from serving.repository.download import DownloadError, Limits, check_url, download, shown
from serving.repository.repository import InvalidModelError
from serving.repository.unpack import ArchiveError, unpack
from serving.repository.write import WriteError, staging
from serving.settings import SECRET, Seconds, load
from serving.telemetry import logs

log = logging.getLogger(__name__)


class FetchSettings(BaseSettings):
    """Fetches a tar archive of models. Every flag can also be set as FERRY_<NAME>."""

    model_config = SettingsConfigDict(
        env_prefix="FERRY_",
        extra="ignore",
        frozen=True,
        cli_kebab_case=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    models_url: str = Field(
        description="http(s) address of an uncompressed tar with NAME/VERSION/... in it", json_schema_extra=SECRET
    )
    models_sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of that file, hexadecimal")
    models_dir: Path = Field(default=Path("models"), description="the model repository; must exist")
    fetch_max_bytes: int = Field(default=2 << 30, ge=1, le=1 << 40, description="bytes of the file")
    fetch_timeout: Seconds = Field(default=120.0, description="seconds for all attempts together")
    fetch_attempts: Annotated[int, Field(ge=1, le=100)] = Field(default=4, description="attempts")

    @field_validator("models_url")
    @classmethod
    def _can_be_asked(cls, url: str) -> str:
        check_url(url)
        return url


def fetch(settings: FetchSettings) -> None:
    """Downloads, checks, unpacks.

    Raises:
        DownloadError, ArchiveError, InvalidModelError: it cannot be had, or is not what it should be.
        WriteError: another writer is at work, or a version of the same number is there and holds something else.
        OSError: the repository cannot be written to.
    """
    limits = Limits(settings.fetch_max_bytes, settings.fetch_timeout, settings.fetch_attempts)
    with staging(settings.models_dir) as folder:  # what one that was killed has left is cleared first
        archive = folder / "models.tar"
        download(settings.models_url, settings.models_sha256, archive, limits)
        for stored in unpack(archive, settings.models_dir, settings.fetch_max_bytes):
            version = {"model": stored.manifest.name, "version": stored.manifest.version}
            log.info("fetched", extra={**version, "digest": stored.manifest.digest[:12]})


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code."""
    settings = load(FetchSettings, arguments)
    logs.configure("fetch", "info")
    try:
        fetch(settings)
    except (DownloadError, ArchiveError, InvalidModelError, WriteError, OSError) as error:
        log.error("cannot fetch %s: %s", shown(settings.models_url), error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
