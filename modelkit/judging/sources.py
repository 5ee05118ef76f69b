"""Where pictures to judge by come from: Parquet files of crops, or a folder with one folder for each expression."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from modelkit.data.expressions import DataError, find_parquet
from modelkit.data.names import expression_of
from modelkit.data.votes import own_votes, read_votes, votes_for
from modelkit.judging.pictures import Collector, NoPictureError, Pictures, counted, spread
from serving.expressions import EXPRESSIONS, INDEX, Expression

COLUMNS = ("name", "label", "image")
MAX_FILE_BYTES = 64 << 20
NAMED = 3  # files that a sentence names
_PICTURES = (
    *(pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary),
    *(pa.types.is_struct, pa.types.is_null, pa.types.is_dictionary),
)
"""Kinds of columns that may hold pictures, or none."""
NUMBERS = ", ".join(f"{number} {expression.value}" for number, expression in enumerate(EXPRESSIONS))
"""What labels mean."""


def read_pictures(data: Path, split: str, crop_size: int, limit: int | None = None) -> Pictures:
    """The labelled crops of `data`.

    Args:
        data: a Parquet file, a folder that holds one (see `modelkit.data.expressions.find_parquet`), or a folder
            with one folder for each expression.
        split: name of the Parquet file or, where `data` holds no expression's folder, of the folder that does.
        crop_size: side of the crops that classifiers are served; larger pictures are brought to it.
        limit: pictures to judge, evenly spread over all; None: all.

    Raises:
        DataError: there are no such pictures, or a row of a Parquet file is none.
    """
    folder = class_folder(data, split)
    if folder is not None:
        return _read_folder(folder, crop_size, limit)
    return _read_parquet(data, find_crops(data, split), split, crop_size, limit)


def find_crops(data: Path, split: str) -> list[Path]:
    """As `modelkit.data.expressions.find_parquet`; its error tells of folders too."""
    try:
        return find_parquet(data, "fer2013", split)
    except DataError as error:
        if data.is_file():
            raise
        names = ", ".join(expression.value for expression in EXPRESSIONS)
        raise DataError(f"{error}; or a folder with one folder for each expression ({names})") from error


def class_folder(data: Path, split: str) -> Path | None:
    """The folder that holds one folder for each expression: `data`, or `data/split`; None where neither does."""
    for folder in (data, data / split):
        if folder.is_dir() and any(_expression(child) for child in folder.iterdir()):
            return folder
    return None


def judged(data: Path, split: str) -> str:
    """What people call the pictures of `data`: the file, the folder of folders, or else the split of a data folder."""
    return data.resolve().name if data.is_file() or class_folder(data, split) == data else split


def pictures_of(folder: Path, limit: int | None = None) -> tuple[list[tuple[Path, Expression]], list[str]]:
    """The files in the folders of expressions, and sentences about what else is there.

    Names of folders are read as import reads classes (`Anger`, `happiness`); hidden files are passed over.

    Raises:
        DataError: none of the folders holds a file.
    """
    files: list[tuple[Path, Expression]] = []
    left_out: list[str] = []
    for child in sorted(folder.iterdir()):
        if child.name.startswith("."):
            continue
        expression = _expression(child)
        if expression is None:
            what = "folder" if child.is_dir() else "file"
            left_out.append(f"{what} {shown(child.name)}, which is named for none of the seven expressions")
            continue
        inside = sorted(_files(child))
        if not inside:
            left_out.append(f"folder {shown(child.name)}, which is empty")
        files += [(path, expression) for path in inside]
    if not files:
        raise DataError(f"no folder of an expression in {folder} holds a picture")
    return [files[row] for row in spread(len(files), limit)], left_out


def _expression(folder: Path) -> Expression | None:
    return expression_of(folder.name) if folder.is_dir() else None


def _files(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(where) / name for name in names if not name.startswith("."))


def read_file(path: Path) -> bytes:
    """The bytes of a picture.

    Raises:
        NoPictureError: it is larger than any picture that Ferry would read, cannot be read, or is no file.
    """
    if not path.is_file():  # a pipe would be waited for
        raise NoPictureError("is no file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise NoPictureError(f"has more than {MAX_FILE_BYTES >> 20} MiB")
    try:
        return path.read_bytes()
    except OSError as error:
        raise NoPictureError(f"cannot be read: {error.strerror}") from error


def shown(name: str) -> str:
    """The name of a file for people; one that is no text has signs in the place of what is none."""
    return os.fsencode(name).decode(errors="replace")


def no_pictures(names: Sequence[str]) -> str:
    """A sentence about files that are no pictures."""
    some = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    return f"{counted(len(names), 'file')} that cannot be read as a picture ({some})"


def _read_folder(folder: Path, crop_size: int, limit: int | None) -> Pictures:
    collector = Collector(crop_size)
    files, collector.left_out = pictures_of(folder, limit)
    unreadable = []
    for path, expression in files:
        name = shown(str(path.relative_to(folder)))
        try:
            collector.add_picture(read_file(path), INDEX[expression], name)
        except NoPictureError:
            unreadable.append(name)
    if unreadable:
        collector.left_out.append(no_pictures(unreadable))
    return _some(collector, folder)


def _read_parquet(data: Path, files: Sequence[Path], split: str, crop_size: int, limit: int | None) -> Pictures:
    collector, votes = Collector(crop_size), read_votes(data)
    tables = [read_table(path) for path in files]
    kept = set(spread(sum(table.num_rows for table in tables), limit))
    start = 0
    for path, table in zip(files, tables, strict=True):
        rows = [row for row in range(table.num_rows) if start + row in kept]
        start += table.num_rows
        names, labels = table["name"].to_pylist(), table["label"].to_pylist()
        for row, (name, label) in enumerate(zip(names, labels, strict=True)):
            check_row(path, row, name, label)
        counts = own_votes(table, names, path)
        counts = votes_for(names, votes) if counts is None else counts
        for row in rows:
            try:
                collector.add_picture(picture_of(table, row), labels[row], names[row], counts[row])
            except NoPictureError as error:
                raise DataError(f"{path}: {names[row]!r} {error}") from error
    return _some(collector, data)


def picture_of(table: pa.Table, row: int) -> bytes | None:
    """The encoded picture in one row, or None; the library `datasets` keeps it one level deeper."""
    encoded = table["image"][row].as_py()
    if isinstance(encoded, dict):
        encoded = encoded.get("bytes")
    return encoded if isinstance(encoded, bytes) else None


def read_table(path: Path, columns: Sequence[str] = COLUMNS) -> pa.Table:
    """A Parquet file that has these columns, and perhaps others.

    Raises:
        DataError: it cannot be read, or lacks one.
    """
    try:
        twice = sorted(name for name, count in Counter(pq.read_schema(path).names).items() if count > 1)
        table = None if twice else pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error
    if table is None:
        raise DataError(f"{path} has more than one column {', '.join(twice)}")
    missing = sorted(set(columns) - set(table.column_names))
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; it needs {', '.join(columns)}")
    kind = table.schema.field("image").type
    if not any(is_kind(kind) for is_kind in _PICTURES):
        raise DataError(f"{path}: column image holds {kind}, but pictures are the bytes of image files")
    return table


def check_row(path: Path, row: int, name: object, label: object) -> None:
    """Demands a name and a label of 0 to 6.

    Raises:
        DataError: there is none.
    """
    if not isinstance(name, str):
        what = "has no name" if name is None else f"has the name {name!r}, which is no text"
        raise DataError(f"{path}: row {row} {what}")
    if type(label) is not int:
        raise DataError(f"{path}: label {label!r} of {name!r} is no whole number; labels are {NUMBERS}")
    if not 0 <= label < len(EXPRESSIONS):
        raise DataError(f"{path}: label {label} of {name!r} is not in 0..{len(EXPRESSIONS) - 1}")


def _some(collector: Collector, data: Path) -> Pictures:
    pictures = collector.finish()
    if not len(pictures):
        more = f" (left out: {'; '.join(pictures.left_out)})" if pictures.left_out else ""
        raise DataError(f"{data} holds no picture that could be judged{more}")
    return pictures
