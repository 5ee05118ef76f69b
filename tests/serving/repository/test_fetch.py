"""Models come over HTTP whole and as promised, or not at all; the error says why and gives no secret away."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import trustme

from serving.repository import download as downloading
from serving.repository.download import DownloadError, Limits, check_url, download
from serving.repository.fetch import FetchSettings, fetch, main
from serving.repository.repository import InvalidModelError, ModelRepository
from serving.repository.unpack import MAX_MEMBERS, ArchiveError, unpack
from tests.full_disk import full_disk
from tests.serving.repository.archives import tar_of
from tests.serving.repository.http_server import Answer, Server, content, status

QUICK = Limits(size=1 << 20, seconds=30, attempts=3, pause=0.01)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def settings(url: str, data: bytes, root: Path, **others: object) -> FetchSettings:
    root.mkdir(exist_ok=True)
    return FetchSettings(models_url=url, models_sha256=digest(data), models_dir=root, **others)  # type: ignore[arg-type]


def test_what_was_promised_can_be_served(server: Server, archive: bytes, tmp_path: Path) -> None:
    root = tmp_path / "models"
    fetch(settings(server.serve("/models.tar", content(archive)), archive, root))
    assert ModelRepository(root).open("tiny", "1").manifest.name == "tiny"
    assert [path.name for path in root.iterdir()] == ["tiny"]


def test_a_second_start_finds_the_same(server: Server, archive: bytes, tmp_path: Path) -> None:
    root = tmp_path / "models"
    wanted = settings(server.serve("/models.tar", content(archive)), archive, root)
    fetch(wanted)
    (root / "tiny/1/model.onnx").write_bytes(b"damaged")
    fetch(wanted)
    assert ModelRepository(root).open("tiny", "1")
    assert [path.name for path in root.iterdir()] == ["tiny"]


def test_another_file_is_refused_and_not_asked_for_again(server: Server, archive: bytes, tmp_path: Path) -> None:
    url = server.serve("/models.tar", content(archive + b"\0"))
    root = tmp_path / "models"
    with pytest.raises(DownloadError, match=f"SHA-256 is {digest(archive + bytes(1))}, expected was {digest(archive)}"):
        fetch(settings(url, archive, root))
    assert list(root.iterdir()) == []
    assert len(server.asked) == 1


def test_a_truncated_answer_is_asked_for_again(server: Server, archive: bytes, tmp_path: Path) -> None:
    short = content(archive[:100], promised=len(archive))
    download(server.serve("/a", short, content(archive)), digest(archive), tmp_path / "a", QUICK)
    assert (tmp_path / "a").read_bytes() == archive
    with pytest.raises(DownloadError, match=rf"ended after 100 of {len(archive)} bytes \(attempt 3 of 3\)"):
        download(server.serve("/b", short), digest(archive), tmp_path / "b", QUICK)


def test_errors_that_may_pass_are_tried_again_and_others_are_not(
    server: Server, archive: bytes, tmp_path: Path
) -> None:
    url = server.serve("/a", status(503), status(429), content(archive))
    download(url, digest(archive), tmp_path / "a", QUICK)
    assert len(server.asked) == 3
    with pytest.raises(DownloadError, match=r"answered 403 Forbidden \(attempt 1 of 3\)"):
        download(server.serve("/b", status(403)), digest(archive), tmp_path / "b", QUICK)


def test_nobody_there(tmp_path: Path, server: Server) -> None:
    url = server.url
    server.close()
    with pytest.raises(DownloadError, match=r"refused.*\(attempt 3 of 3\)"):
        download(url, "0" * 64, tmp_path / "a", QUICK)


@pytest.mark.parametrize("promised", [True, False])
def test_more_than_is_allowed_is_not_read(server: Server, tmp_path: Path, promised: bool) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if promised:
            handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        try:
            while not server.released.is_set():
                handler.wfile.write(bytes(1 << 16))
        except OSError:
            pass

    with pytest.raises(DownloadError, match=r"bytes.*allowed"):
        download(server.serve("/a", endless), "0" * 64, tmp_path / "a", QUICK)
    assert not (tmp_path / "a").exists() or (tmp_path / "a").stat().st_size <= QUICK.size


def test_a_server_that_drips_is_cut_off(server: Server, tmp_path: Path) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        try:
            while not server.released.wait(0.05):
                handler.wfile.write(b"x")
        except OSError:
            pass

    with pytest.raises(DownloadError, match="not complete when the time was up"):
        download(server.serve("/a", drip), "0" * 64, tmp_path / "a", Limits(seconds=0.5))


def test_a_server_that_never_answers_is_cut_off(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="not complete when the time was up"):
        download(
            server.serve("/a", lambda _: server.released.wait() and None),
            "0" * 64,
            tmp_path / "a",
            Limits(seconds=0.5, attempts=1),
        )


def test_a_redirect_is_followed(server: Server, archive: bytes, tmp_path: Path) -> None:
    server.serve("/there", content(archive))
    download(server.serve("/a", status(302, Location="/there")), digest(archive), tmp_path / "a", QUICK)
    assert server.asked == ["/a", "/there"]


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://u:p@127.0.0.1/", "http://:80/x"]
)
def test_a_redirect_elsewhere_is_not(server: Server, tmp_path: Path, location: str) -> None:
    with pytest.raises(DownloadError, match="redirects to an address that must"):
        download(server.serve("/a", status(302, Location=location)), "0" * 64, tmp_path / "a", QUICK)
    assert len(server.asked) == 1


def test_a_redirect_in_circles_ends(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="more than 5 redirects"):
        download(server.serve("/a", status(302, Location="/a")), "0" * 64, tmp_path / "a", QUICK)


def test_https_is_not_given_up() -> None:
    with pytest.raises(DownloadError, match="from https to http"):
        downloading._redirected("https://models.example.com/a", "http://models.example.com/a")


@pytest.mark.parametrize(
    "path",
    [
        "../escaped",
        "/etc/passwd",
        "tiny/1/../../../escaped",
        "tiny/1/a/b",
        "tiny/1/.hidden",
        "tiny/one/a",
        "a",
        "Tiny/1/a",
    ],
)
def test_paths_that_leave_their_place_are_refused(tmp_path: Path, archive: bytes, path: str) -> None:
    root = tmp_path / "root" / "models"
    root.mkdir(parents=True)
    (tmp_path / "a.tar").write_bytes(tar_of({"tiny/1/fine": b"", path: b"x"}))
    with pytest.raises(ArchiveError, match="is no plain file NAME/VERSION/FILE"):
        unpack(tmp_path / "a.tar", root, 1 << 20)
    assert [p for p in (tmp_path / "root").rglob("*") if p != root] == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_nothing_but_plain_files_is_unpacked(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("tiny/1/model.onnx")
    info.type, info.linkname = kind, "/etc/passwd"
    (tmp_path / "a.tar").write_bytes(tar_of({}, info))
    (tmp_path / "models").mkdir()
    with pytest.raises(ArchiveError, match="is no plain file"):
        unpack(tmp_path / "a.tar", tmp_path / "models", 1 << 20)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not an uncompressed tar"),
        (b"no tar" * 1000, "not an uncompressed tar"),
        (tar_of({"tiny/1/a": b"x"}, mode="w:gz"), "not an uncompressed tar"),
        (tar_of({"tiny/1/a": bytes(5000)})[:2000], "tar|ends within"),
        (tar_of({"tiny/1/a": bytes(2 << 20)}), "have more than 1048576 bytes"),
        (tar_of({f"tiny/1/f{i}": b"" for i in range(MAX_MEMBERS + 1)}), "more than 512 entries"),
        (tar_of({"tiny/1/model.onnx": b"x"}), "there is no model in the archive"),
    ],
    ids=["empty", "noise", "gzip", "truncated", "large", "many", "no manifest"],
)
def test_archives_that_hold_no_models(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    (tmp_path / "models").mkdir()
    with pytest.raises(ArchiveError, match=says):
        unpack(tmp_path / "a.tar", tmp_path / "models", 1 << 20)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_version_that_its_manifest_does_not_describe(tmp_path: Path, archive: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    files["tiny/1/model.onnx"] += b"x"
    (tmp_path / "a.tar").write_bytes(tar_of(files))
    (tmp_path / "models").mkdir()
    with pytest.raises(InvalidModelError, match="is not what its manifest says"):
        unpack(tmp_path / "a.tar", tmp_path / "models", 1 << 20)
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/key",
        "file:///etc/passwd",
        "http://",
        "http://u:p@h/",
        "http://h/a b",
        "http://u:c0ffee/p@h/",
        "http://h:99999/",
        "http://[::1/",
        "http://c0ffee\u2100/",
    ],
)
def test_addresses_that_are_not_asked(url: str) -> None:
    with pytest.raises(ValueError, match="must") as error:
        check_url(url)
    assert "c0ffee" not in str(error.value)


def test_the_command_says_in_one_line_what_failed_and_keeps_the_secret(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = server.serve("/models.tar", status(403)) + "?X-Amz-Signature=c0ffee"
    arguments = ["--models-url", url, "--models-sha256", "0" * 64, "--models-dir", str(tmp_path)]
    assert main(arguments) == 1
    told = capfd.readouterr().err
    assert "cannot fetch" in told
    assert "answered 403 Forbidden" in told
    assert "c0ffee" not in told
    assert len(told.splitlines()) == 1


def test_the_command_names_the_setting_that_does_not_fit(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--models-url", "s3://bucket/key?secret=c0ffee", "--models-sha256", "short"])
    told = capfd.readouterr().err
    assert "FERRY_MODELS_URL" in told
    assert "FERRY_MODELS_SHA256" in told
    assert "c0ffee" not in told


def test_a_folder_that_is_not_there(server: Server, archive: bytes, tmp_path: Path) -> None:
    url = server.serve("/models.tar", content(archive))
    arguments = ["--models-url", url, "--models-sha256", digest(archive), "--models-dir", str(tmp_path / "none")]
    assert main(arguments) == 1


def _dripped(headers: dict[str, str], *, in_headers: bool = False) -> Answer:
    """A server that never lets a second pass without a byte, and never comes to an end."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        server: Server = handler.server.owner  # type: ignore[attr-defined]
        handler.send_response(200)
        for key, value in headers.items():
            handler.send_header(key, value)
        if not in_headers:
            handler.end_headers()
        else:
            handler.flush_headers()
        piece = b"X-A: b\r\n" if in_headers else b"1\r\nx\r\n"
        try:
            while not server.released.wait(0.02):
                handler.wfile.write(piece)
        except OSError:
            pass

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        _dripped({"Connection": "close"}),
        _dripped({"Connection": "close", "Content-Length": "1000000"}),
        _dripped({"Transfer-Encoding": "chunked"}),
        _dripped({"Connection": "close"}, in_headers=True),
    ],
    ids=["until it closes", "with a length", "in chunks", "headers"],
)
def test_the_time_is_kept_however_a_server_trickles(server: Server, tmp_path: Path, answer: Answer) -> None:
    started = time.monotonic()
    with pytest.raises(DownloadError, match="not complete when the time was up"):
        download(server.serve("/a", answer), "0" * 64, tmp_path / "a", Limits(seconds=0.7, attempts=1))
    assert time.monotonic() - started < 10, "an idle server has ten seconds, a busy one no more than its time"


def test_the_time_is_kept_over_redirects_that_trickle(server: Server, tmp_path: Path) -> None:
    server.serve("/there", _dripped({"Connection": "close"}))
    url = server.serve("/a", status(302, Location="/there", Connection="close"))
    with pytest.raises(DownloadError, match="not complete when the time was up"):
        download(url, "0" * 64, tmp_path / "a", Limits(seconds=0.7))


def test_what_is_compressed_on_the_way_is_not_what_was_promised(server: Server, archive: bytes, tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(1 << 22))

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(bomb)))
        handler.end_headers()
        handler.wfile.write(bomb)

    with pytest.raises(DownloadError, match="is another file"):
        download(server.serve("/a", answer), digest(archive), tmp_path / "a", QUICK)
    assert (tmp_path / "a").stat().st_size == len(bomb)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"\0" * 100,
        b"HTTP/1.1 999 no\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: " + b"b" * (1 << 20),
    ],
)
def test_a_server_that_talks_nonsense_is_an_error(server: Server, tmp_path: Path, nonsense: bytes) -> None:
    url = server.serve("/a", lambda handler: handler.wfile.write(nonsense) and None)
    with pytest.raises(DownloadError):
        download(url, "0" * 64, tmp_path / "a", Limits(seconds=20, attempts=2, pause=0.01))


def test_a_server_has_to_be_trusted(
    server: Server, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    url = server.serve("/a", content(archive)).replace("http://", "https://")
    server.encrypt(authority)
    with pytest.raises(DownloadError, match=r"its certificate is not trusted: .*\(attempt 1 of 3\)"):
        download(url, digest(archive), tmp_path / "a", QUICK)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
    download(url, digest(archive), tmp_path / "a", QUICK)
    assert (tmp_path / "a").read_bytes() == archive


def test_the_surroundings_send_nothing_elsewhere(
    server: Server, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("default login me password c0ffee")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    seen: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        seen.extend(handler.headers)
        content(archive)(handler)

    download(server.serve("/a", answer), digest(archive), tmp_path / "a", QUICK)
    assert {name.lower() for name in seen} <= {"host", "accept", "accept-encoding", "connection", "user-agent"}


def test_a_disk_that_is_full_is_said(server: Server, archive: bytes, tmp_path: Path) -> None:
    with full_disk(1000), pytest.raises(DownloadError, match=r"cannot write .*large"):
        download(server.serve("/a", content(archive)), digest(archive), tmp_path / "a", QUICK)
