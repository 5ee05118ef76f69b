"""Pages of other hosts, which have the browser of whoever may call make their requests."""

import hashlib

import pytest
import websockets

from gateway.http.origin import Origins
from tests.gateway.fakes import jpeg
from tests.gateway.http.conftest import problem


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "::::"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        {"host": "evil.example"},
        {"host": "evil.example:8080", "origin": "http://evil.example:8080"},
        {"host": "127.0.0.1.evil.example"},
    ],
)
async def test_what_a_page_of_others_asks_is_refused_before_it_is_read(http, ensembler, headers):
    answer = await http.client.post("/api/predict", files={"image": jpeg()}, headers=headers)
    problem(answer, 403)
    assert not ensembler.requests


async def test_its_own_page_and_programs_are_served(http):
    own = f"http://127.0.0.1:{http.port}"
    for headers in (
        {},
        {"origin": own, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"},
        {"host": f"localhost:{http.port}", "origin": f"http://localhost:{http.port}"},
        {"host": f"[::1]:{http.port}"},
        {"host": "gateway"},
        {"origin": "https://ferry.example.com", "x-forwarded-host": "ferry.example.com"},
    ):
        assert (await http.predict(jpeg(), headers=headers)).status_code == 200, headers
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert (await http.client.get("/", headers=followed)).status_code == 200, "a link may lead here"


async def test_names_can_be_added(start_http):
    http = await start_http(http_hosts={"ferry.example.com"})
    named = {"host": "ferry.example.com", "origin": "http://ferry.example.com"}
    assert (await http.predict(jpeg(), headers=named)).status_code == 200


async def test_where_a_key_is_needed_a_page_of_others_has_none(start_http, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"shop {hashlib.sha256(b'secret').hexdigest()}\n")
    http = await start_http(api_keys=keys)
    elsewhere = {"host": "ferry.example.com", "origin": "https://shop.example.com"}
    problem(await http.predict(jpeg(), headers=elsewhere), 401)
    allowed = {**elsewhere, "authorization": "Bearer secret"}
    assert (await http.predict(jpeg(), headers=allowed)).status_code == 200


async def test_a_camera_of_another_page_is_refused(http):
    for headers in ({"Host": "evil.example"}, {}):
        with pytest.raises(websockets.exceptions.InvalidStatus):
            async with websockets.connect(
                f"ws://127.0.0.1:{http.port}/api/live",
                origin="http://evil.example",
                additional_headers=headers,
                proxy=None,
            ):
                pass


def test_a_gateway_for_a_network_does_not_ask_by_which_name():
    origins = Origins("0.0.0.0", (), keys=False)
    assert not origins.refusal({"host": "ferry.example.com"})
    assert not origins.refusal({"host": "ferry.example.com", "origin": "https://ferry.example.com"})
    assert origins.refusal({"host": "ferry.example.com", "origin": "https://evil.example"})
