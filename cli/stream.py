"""`ferry stream`: recognises the expressions in the frames of a video or a camera, as they come."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from cli.connect import ApiKeyOption, TlsCaOption, TlsCertOption, TlsKeyOption, credentials
from cli.jpegs import jpegs
from cli.output import DEFAULT_ADDRESS, AddressOption
from cli.records import lines, outcome
from ferry.client import FerryError, Options

_TIMEOUT = 30.0
"""Seconds for the answer to a frame."""


def stream(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each frame.")] = False,
    max_faces: Annotated[
        int, typer.Option(metavar="N", min=1, max=256, help="Most faces of a frame, the surest first.")
    ] = 64,
    address: AddressOption = DEFAULT_ADDRESS,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Recognise the expressions in the frames of a video or a camera, which come as JPEGs on standard input.

    `ffmpeg -f v4l2 -i /dev/video0 -f mjpeg - | ferry stream` asks a cluster that runs about a camera; of a file,
    `ffmpeg -re -i video.mp4 -f mjpeg -` gives the frames in their own time. When frames come faster than they are
    answered, the newest one wins and those before it are left out; numbers of frames tell. `ferry predict` leaves none
    out.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise typer.BadParameter("no frames: pipe JPEGs into it, such as `ffmpeg -i VIDEO -f mjpeg - | ferry stream`")
    seen = failed = 0
    with (
        open(sys.stdin.fileno(), "rb", closefd=False) as pipe,
        credentials(tls_ca, tls_cert, tls_key, api_key).client(address, _TIMEOUT) as client,
    ):
        for number, result in client.recognize_stream(jpegs(pipe), **Options(max_faces=max_faces)):
            seen += 1
            failed += isinstance(result, FerryError)
            if as_json:
                print(json.dumps({"frame": number, **outcome(result)}), flush=True)
            else:
                print("\n".join(lines(f"frame {number}", result)), flush=True)
    if not seen:
        raise typer.BadParameter("there is no JPEG in what came on standard input")
    if failed:
        raise typer.Exit(1)
