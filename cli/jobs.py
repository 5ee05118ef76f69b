"""`ferry jobs`: images that are recognised later."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.connect import ApiKeyOption, TlsCaOption, TlsCertOption, TlsKeyOption, credentials
from cli.output import DEFAULT_ADDRESS, AddressOption, JsonOption, answers, print_json
from cli.records import path_text
from ferry.client import Client, Job

app = typer.Typer(
    no_args_is_help=True,
    help="Have photos recognised later, when other callers leave room.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_TIMEOUT = 30.0
_LOOK_SECONDS = 0.5
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
    """Submit photos; prints a line with id and photo for each."""
    with credentials(tls_ca, tls_cert, tls_key, api_key).client(address, _TIMEOUT) as client:
        submitted = []
        for photo in photos:
            submitted.append({"job_id": client.submit_job(photo, time_to_live=keep), "path": path_text(photo)})
            if not as_json:
                answers.print(f"{submitted[-1]['job_id']}  {photo}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print_json(submitted)


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
    """Show how jobs stand, with their results. Exits with 1 where one has failed or is not finished."""
    with credentials(tls_ca, tls_cert, tls_key, api_key).client(address, _TIMEOUT) as client:
        end = time.monotonic() + wait
        jobs = [_wait(client, job_id, end) for job_id in job_ids]
    if as_json:
        print_json([job.to_dict() for job in jobs])
    else:
        for job in jobs:
            answers.print(f"{job.job_id}  {_said(job)}", markup=False, highlight=False, soft_wrap=True)
    if not all(job.state == "succeeded" for job in jobs):
        raise typer.Exit(1)


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
    """Stop jobs and drop their images; those that have finished stay as they are."""
    with credentials(tls_ca, tls_cert, tls_key, api_key).client(address, _TIMEOUT) as client:
        for job_id in job_ids:
            client.cancel_job(job_id)


def _wait(client: Client, job_id: str, end: float) -> Job:
    while not (job := client.job(job_id)).finished and time.monotonic() < end:
        time.sleep(min(_LOOK_SECONDS, max(0.0, end - time.monotonic())))
    return job


def _said(job: Job) -> str:
    if job.result is None:
        return f"{job.state}: {job.error}" if job.error else job.state
    faces: list[Any] = [f"{face.expression} {face.confidence:.2f}" for face in job.result.faces]
    return f"{job.state}: {', '.join(faces) or 'no face'}"
