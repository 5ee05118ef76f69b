"""A real browser before a real gateway; the models behind it are pretended."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ferry.tls import Tls
from tests.gateway.fakes import jpeg
from tests.gateway.http.conftest import Http, StartHttp
from tests.gateway.http.page.portraits import Portraits

playwright = pytest.importorskip("playwright.async_api", reason="the page is tested with Playwright, not installed")
playwright.expect.set_options(timeout=20_000)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)


@pytest.fixture
async def ensembler() -> Portraits:
    fake = Portraits()
    fake.faces = 2
    return fake


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Any]:
    if CHROMIUM is None:
        pytest.skip("the page is tested in Chromium; there is none (Debian: apt install chromium)")
    async with playwright.async_playwright() as started:
        chromium = await started.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, f"--use-file-for-fake-video-capture={_video(tmp_path)}"]
        )
        yield chromium
        await chromium.close()


def _video(folder: Path) -> Path:
    """Two frames of Motion JPEG, which Chromium plays over and over."""
    path = folder / "camera.mjpeg"
    path.write_bytes(jpeg(90, (320, 240)) + jpeg(160, (320, 240)))
    return path


class Page:
    """A page that was opened, with all that should not have happened.

    Attributes:
        page: Playwright's.
        http: the gateway.
        wrong: what the console and the policy complained of, and requests to other hosts.
    """

    def __init__(self, page: Any, http: Http) -> None:
        self.page = page
        self.http = http
        self.wrong: list[str] = []
        own = f"//127.0.0.1:{http.port}"
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda request: own in request.url or self._elsewhere(request.url))

    def _console(self, message: Any) -> None:
        # That a request has failed is said by the browser, too; the page shows it.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            self.wrong.append(message.text)

    def _elsewhere(self, url: str) -> None:
        if not url.startswith(("blob:", "data:")):
            self.wrong.append(f"a request to {url}")

    async def upload(self, *pictures: bytes) -> None:
        files = [
            {"name": f"{index}.jpg", "mimeType": "image/jpeg", "buffer": data} for index, data in enumerate(pictures)
        ]
        await self.page.locator("#files").set_input_files(files)

    async def sees(self, text: str, within: str = "body") -> None:
        await playwright.expect(self.page.locator(within)).to_contain_text(text)


OpenPage = Callable[..., Awaitable[Page]]


@pytest.fixture
async def open_page(browser: Any, start_http: StartHttp) -> AsyncIterator[OpenPage]:
    """Opens the page of a gateway; settings as keywords, the files of `tls` for both ends. What went wrong in it fails
    the test."""
    opened: list[Page] = []

    async def start(
        *, width: int = 1280, scheme: str = "light", path: str = "/", tls: Tls | None = None, **more: Any
    ) -> Page:
        if tls is not None:
            more |= {"tls_ca": tls.ca, "tls_cert": tls.cert, "tls_key": tls.key}
        http = await start_http(**more)
        origin = f"{'http' if tls is None else 'https'}://127.0.0.1:{http.port}"
        own = [] if tls is None else [{"origin": origin, "certPath": tls.cert, "keyPath": tls.key}]
        context = await browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme=scheme,
            permissions=["camera", "clipboard-read"],
            client_certificates=own,
            ignore_https_errors=tls is not None,
        )
        page = Page(await context.new_page(), http)
        opened.append(page)
        await page.page.goto(f"{origin}{path}")
        return page

    yield start
    for page in opened:
        await page.page.context.close()
        assert page.wrong == []
