"""What is read from a metrics page, and what is no page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from serving.telemetry.scrape import fetch

PAGE = b"# TYPE ferry_exposures counter\nferry_exposures_total 5.0\n"


@contextmanager
def _serving(length: int) -> Iterator[str]:
    """Where the page is, which is said to have so many bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(PAGE)

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_page_that_is_cut_off_is_none() -> None:
    with _serving(len(PAGE)) as whole, _serving(len(PAGE) + 1) as cut:
        assert fetch(whole) == (whole, PAGE.decode())
        assert fetch(cut) == (cut, "")
