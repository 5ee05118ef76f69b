"""Parts of multipart/form-data, one after the other as they come, in memory alone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.http.problems import BodyError

MAX_FIELD_BYTES = 4 << 10
"""Of a part that is no file."""
MAX_FIELDS = 32
_MAX_HEADERS = 8
_PIECE_BYTES = 16 << 10
"""Parsed at once; in between, others have their turn."""
_MAX_BOUNDARIES = 1 << 12
"""Starts of one in a form, real or in a file: each takes the parser many times what another byte does."""


@dataclass(frozen=True, slots=True)
class Part:
    """Of a form.

    Attributes:
        name: of the field.
        file: whether it is a file.
        data: its content.
    """

    name: str
    file: bool
    data: bytes

    @property
    def text(self) -> str:
        """Of a field.

        Raises:
            BodyError: it is no UTF-8.
        """
        try:
            return self.data.decode()
        except UnicodeDecodeError as error:
            raise BodyError(400, "is no UTF-8 text", self.name) from error


class _Parts:
    """Takes what the parser finds; the callbacks are the library's."""

    def __init__(self, max_file_bytes: int) -> None:
        self.found: deque[Part] = deque()
        self.ended = False
        self._max_file_bytes = max_file_bytes
        self._fields = 0
        self._header, self._value, self._headers = bytearray(), bytearray(), 0
        self._disposition = b""
        self._name, self._file, self._data = "", False, bytearray()

    def on_part_begin(self) -> None:
        self._disposition, self._headers, self._data = b"", 0, bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers += 1
        if self._headers > _MAX_HEADERS:
            raise BodyError(400, f"a part has more than {_MAX_HEADERS} headers")
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise BodyError(400, 'a part has no name: "Content-Disposition: form-data; name=..." is missing')
        self._name = options[b"name"].decode(errors="replace")[:64]
        self._file = b"filename" in options
        if not self._file:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise BodyError(400, f"the form has more than {MAX_FIELDS} fields")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        limit = self._max_file_bytes if self._file else MAX_FIELD_BYTES
        if len(self._data) + end - start > limit:
            raise BodyError(413, f"is larger than {limit} bytes", self._name)
        self._data += data[start:end]

    def on_part_end(self) -> None:
        self.found.append(Part(self._name, self._file, bytes(self._data)))
        self._data = bytearray()

    def on_end(self) -> None:
        self.ended = True


class _Boundaries:
    """Counts the boundaries of a form."""

    def __init__(self, boundary: bytes) -> None:
        self._mark = b"\r\n--" + boundary
        self._found = 0
        self._last = b""

    def count(self, piece: bytes) -> None:
        """
        Raises:
            BodyError: there are too many.
        """
        data = self._last + piece
        self._found += data.count(self._mark)
        if self._found > _MAX_BOUNDARIES:
            raise BodyError(400, f"the form holds its boundary more than {_MAX_BOUNDARIES} times")
        # Shorter than a boundary, so that none is counted twice.
        self._last = data[1 - len(self._mark) :]


async def parts(content_type: str, chunks: AsyncIterator[bytes], max_file_bytes: int) -> AsyncIterator[Part]:
    """The parts of a form; the next one is received when it is asked for.

    Args:
        content_type: with the boundary.
        chunks: of the body.
        max_file_bytes: of a part that is a file.

    Raises:
        BodyError: it is no form, or larger than allowed.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise BodyError(400, "the boundary of multipart/form-data is missing", "content-type")
    taken, boundaries = _Parts(max_file_bytes), _Boundaries(boundary)
    names = ("on_part_begin", "on_header_field", "on_header_value", "on_header_end", "on_headers_finished")
    callbacks = {name: getattr(taken, name) for name in (*names, "on_part_data", "on_part_end", "on_end")}
    try:
        parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        async for chunk in chunks:
            for start in range(0, len(chunk), _PIECE_BYTES):
                piece = chunk[start : start + _PIECE_BYTES]
                boundaries.count(piece)
                parser.write(piece)
                await asyncio.sleep(0)
                while taken.found:
                    yield taken.found.popleft()
        parser.finalize()
    except (FormParserError, UnicodeDecodeError) as error:
        raise BodyError(400, "is no valid multipart/form-data") from error
    if not taken.ended:
        raise BodyError(400, "ends in the middle of a part")
