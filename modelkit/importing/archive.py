"""PyTorch's zip files, looked at before anything in them is unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path

from modelkit.importing.errors import CheckpointError

MAX_BYTES = 4 << 30
MAX_PICKLE_BYTES = 64 << 20
MAX_MEMBERS = 100_000


def check_size(file: Path) -> None:
    """
    Raises:
        CheckpointError: there is no such file, or it is empty or larger than `MAX_BYTES`.
    """
    if not file.is_file():
        raise CheckpointError(f"{file} is not a file")
    size = file.stat().st_size
    if not 0 < size <= MAX_BYTES:
        raise CheckpointError(f"{file} has {size} bytes; a checkpoint has 1 to {MAX_BYTES}")


def check_archive(file: Path) -> None:
    """Refuses zip files that would unpack to more than they hold. Other files pass.

    Raises:
        CheckpointError: as said; PyTorch stores its tensors uncompressed, so an honest file never does.
    """
    if not zipfile.is_zipfile(file):
        return
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise CheckpointError(f"{file} is a damaged zip file: {error}") from error
    if len(members) > MAX_MEMBERS:
        raise CheckpointError(f"{file} has {len(members)} members; {MAX_MEMBERS} are allowed")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise CheckpointError(f"{file} is compressed inside, which no checkpoint of PyTorch is")
    if sum(member.file_size for member in members) > file.stat().st_size:
        raise CheckpointError(f"{file} would unpack to more than it holds")
    if any(member.file_size > MAX_PICKLE_BYTES for member in members if member.filename.endswith(".pkl")):
        raise CheckpointError(
            f"{file} has a pickle of more than {MAX_PICKLE_BYTES} bytes; tensors are stored beside it"
        )
