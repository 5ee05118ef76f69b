from collections.abc import AsyncIterator

import pytest

from gateway.http.forms import Part, parts
from gateway.http.problems import BodyError
from tests.gateway.fakes import turns_of_others

TYPE = "multipart/form-data; boundary=B"
HEAD = b'--B\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
END = b"\r\n--B--\r\n"


async def read(body: bytes, chunk_bytes: int) -> list[Part]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), chunk_bytes):
            yield body[start : start + chunk_bytes]

    return [part async for part in parts(TYPE, chunks(), 16 << 20)]


@pytest.mark.parametrize("chunk_bytes", [7, 1 << 20])
async def test_a_form_may_hold_its_boundary_4096_times(chunk_bytes: int) -> None:
    content = b"\r\n--Bx" * 4095
    assert [part.data for part in await read(HEAD + content + END, chunk_bytes)] == [content]
    with pytest.raises(BodyError, match="4096 times") as refusal:
        await read(HEAD + content + b"\r\n--Bx" + END, chunk_bytes)
    assert refusal.value.status == 400


async def test_others_have_their_turn_while_a_large_form_is_parsed() -> None:
    assert await turns_of_others(read(HEAD + bytes(1 << 20) + END, 2 << 20)) >= 64
