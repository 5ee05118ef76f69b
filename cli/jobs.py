"""`ferry jobs`: images that are recognised later."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from cli.connect import ApiKeyOption, TlsCaOption, TlsCertOption, TlsKeyOption, credentials
from cli.output import DEFAULT_ADDRESS, AddressOption, JsonOption, answers, errors, print_json
from cli.records import path_text
from ferry.client import Client, FerryError, Job

T = TypeVar("T")
U = TypeVar("U")

app = typer.Typer(
    no_args_is_help=True,
    help="Have photos recognised later, when other callers leave room.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_TIMEOUT = 30.0
_LOOK_SECONDS = 0.5
_FOR_ALL = frozenset({"UNAVAILABLE", "UNAUTHENTICATED", "UNIMPLEMENTED"})
"""Codes of errors that the next call would have, too."""
JobIds = Annotated[list[str], typer.Argument(metavar="ID", help="As `ferry jobs submit` printed it.")]


@app.command()
def submit(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO", exists=True, dir_okay=False, help="Encoded images.")],
    *,
    keep: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, max=86400, help="How long each result is kept.")
    ] = 3600.0,
    as_json: JsonOption = False,
    address: AddressOption = DEFAULT_ADDRESS,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Submit photos; prints a line with id and photo for each.

    A photo that is refused is reported, the others are still submitted, and the exit code is 1.
    """
    submitted: list[dict[str, str]] = []
    with credentials(tls_ca, tls_cert, tls_key, api_key).client(address, _TIMEOUT) as client:
        for photo, job_id in _each(photos, lambda photo: client.submit_job(photo, time_to_live=keep)):
            if isinstance(job_id, FerryError):
                submitted.append({"path": path_text(photo), **_failure(photo, job_id)})
                continue
            submitted.append({"job_id": job_id, "path": path_text(photo)})
            if not as_json:
                _say(job_id, str(photo))
    _end(submitted, as_json=as_json, failed=any("error" in one for one in submitted))


@app.command()
def get(
    job_ids: JobIds,
    *,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, max=86400, help="Wait so long for jobs that are not finished.")
    ] = 0.0,
    as_json: JsonOption = False,
    address: AddressOption = DEFAULT_ADDRESS,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Show how jobs stand, with their results. Exits with 1 where one is unknown, has failed or is not finished."""
    shown: list[dict[str, Any]] = []
    good = True
    end = time.monotonic() + wait
    with credentials(tls_ca, tls_cert, tls_key, api_key).client(address, _TIMEOUT) as client:
        for job_id, job in _each(job_ids, lambda job_id: _wait(client, job_id, end)):
            if isinstance(job, FerryError):
                good = False
                shown.append({"job_id": job_id, **_failure(job_id, job)})
                continue
            good = good and job.state == "succeeded"
            shown.append(job.to_dict())
            if not as_json:
                _say(job_id, _said(job))
    _end(shown, as_json=as_json, failed=not good)


@app.command()
def cancel(
    job_ids: JobIds,
    *,
    address: AddressOption = DEFAULT_ADDRESS,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Stop jobs and drop their images; those that have finished stay as they are. Exits with 1 where one is unknown."""
    good = True
    with credentials(tls_ca, tls_cert, tls_key, api_key).client(address, _TIMEOUT) as client:

        def stop(job_id: str) -> Job:
            client.cancel_job(job_id)
            return client.job(job_id)

        for job_id, job in _each(job_ids, stop):
            if isinstance(job, FerryError):
                good = False
                _failure(job_id, job)
            else:
                _say(job_id, "cancelled" if job.state == "cancelled" else f"had {job.state} already")
    if not good:
        raise typer.Exit(1)


def _each(items: Iterable[T], ask: Callable[[T], U]) -> Iterator[tuple[T, U | FerryError]]:
    """Each item with its answer, or its error; once nobody answers at all, the rest is not asked and has that error.

    Raises:
        FerryError: nobody has answered from the first one on.
    """
    lost: FerryError | None = None
    for number, item in enumerate(items):
        answer: U | FerryError
        try:
            answer = ask(item) if lost is None else lost
        except FerryError as error:
            if error.code in _FOR_ALL:
                if not number:
                    raise
                lost = error
            answer = error
        yield item, answer


def _failure(name: object, error: FerryError) -> dict[str, str]:
    """Says it, and returns it for JSON."""
    errors.print(f"{name}: {error}", markup=False, highlight=False, soft_wrap=True)
    return {"error": str(error), "code": error.code}


def _say(job_id: str, words: str) -> None:
    answers.print(f"{job_id}  {words}", markup=False, highlight=False, soft_wrap=True)


def _end(records: list[Any], *, as_json: bool, failed: bool) -> None:
    if as_json:
        print_json(records)
    if failed:
        raise typer.Exit(1)


def _wait(client: Client, job_id: str, end: float) -> Job:
    while not (job := client.job(job_id)).finished and time.monotonic() < end:
        time.sleep(min(_LOOK_SECONDS, max(0.0, end - time.monotonic())))
    return job


def _said(job: Job) -> str:
    if job.result is None:
        return f"{job.state}: {job.error}" if job.error else job.state
    faces: list[Any] = [f"{face.expression} {face.confidence:.2f}" for face in job.result.faces]
    return f"{job.state}: {', '.join(faces) or 'no face'}"
