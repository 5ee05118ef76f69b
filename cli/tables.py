"""Answers as a table in a file: a row for each face, written as answers come."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

from cli.records import path_text, record
from ferry.client import FerryError, Recognition
from serving.expressions import EXPRESSIONS

COLUMNS: Final[Mapping[str, type]] = {
    "path": str,
    "face": int,
    "x_min": float,
    "y_min": float,
    "x_max": float,
    "y_max": float,
    "score": float,
    "expression": str,
    "confidence": float,
    **dict.fromkeys((expression.value for expression in EXPRESSIONS), float),
    "degraded": bool,
    "cached": bool,
    "variant": str,
    "total_ms": float,
    "request_id": str,
    "error": str,
}
"""A photo without a face, or without an answer, has one row in which `face` is empty."""
SUFFIXES: Final = (".csv", ".parquet", ".jsonl")
_GROUP: Final = 1024
"""Rows that wait before they are written to a Parquet file."""

Row = dict[str, Any]


class Writer(Protocol):
    """One of those below; a context that ends the file."""

    def write(self, path: Path, result: Recognition | FerryError) -> None:
        """Adds what became of one photo."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_table(path: Path) -> Writer:
    """A writer of the kind that the name's end says.

    Raises:
        ValueError: it says none.
        OSError: the file cannot be written.
        ModuleNotFoundError: the kind needs a package that is not there.
    """
    kinds: dict[str, Callable[[Path], Writer]] = {".csv": _Csv, ".parquet": _Parquet, ".jsonl": _Lines}
    if path.suffix not in kinds:
        raise ValueError(f"must end with one of {', '.join(SUFFIXES)}, not {path.suffix or 'nothing'!r}")
    return kinds[path.suffix](path)


def rows(path: Path, result: Recognition | FerryError) -> list[Row]:
    """One for each face; one where there is none."""
    row: Row = {**dict.fromkeys(COLUMNS), "path": path_text(path)}
    if isinstance(result, FerryError):
        return [{**row, "error": str(result)}]
    row |= {
        "degraded": result.degraded,
        "cached": result.cached,
        "variant": result.variant,
        "total_ms": result.timings.total_ms,
        "request_id": result.request_id,
    }
    if not result.faces:
        return [row]
    return [
        {
            **row,
            "face": number,
            **dict(zip(("x_min", "y_min", "x_max", "y_max"), face.box.xyxy, strict=True)),
            "score": face.score,
            "expression": face.expression,
            "confidence": face.confidence,
            **{expression.value: face.probabilities.get(expression.value) for expression in EXPRESSIONS},
            "degraded": face.degraded,
        }
        for number, face in enumerate(result.faces)
    ]


class _File:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class _Csv(_File):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._writer = csv.DictWriter(self._file, COLUMNS)
        self._writer.writeheader()

    def write(self, path: Path, result: Recognition | FerryError) -> None:
        self._writer.writerows(rows(path, result))
        self._file.flush()


class _Lines(_File):
    def write(self, path: Path, result: Recognition | FerryError) -> None:
        self._file.write(json.dumps(record(path, result), default=dict) + "\n")
        self._file.flush()


class _Parquet:
    """The file has its name when it is whole: half a Parquet file cannot be read."""

    def __init__(self, path: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        kinds = {str: pyarrow.string(), int: pyarrow.int32(), float: pyarrow.float64(), bool: pyarrow.bool_()}
        self._schema = pyarrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
        self._table = pyarrow.Table
        self._path, self._unfinished = path, path.with_name(f".{path.name}.new")
        self._writer = parquet.ParquetWriter(self._unfinished, self._schema)
        self._rows: list[Row] = []

    def write(self, path: Path, result: Recognition | FerryError) -> None:
        self._rows += rows(path, result)
        if len(self._rows) >= _GROUP:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(self._table.from_pylist(self._rows, self._schema))
        self._rows = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rows:
            self._flush()
        self._writer.close()
        self._unfinished.replace(self._path)
