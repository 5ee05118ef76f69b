"""Who keeps a port, and from whom."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cli.cluster import Cluster, ClusterError, ClusterSettings, ports


def test_a_port_is_kept_from_other_clusters_alone() -> None:
    one, other = ports.free(2)
    with ports.hold("127.0.0.1", one):
        assert ports.is_free("127.0.0.1", one), "for those who listen there"
        with (
            pytest.raises(ClusterError, match=f"port {one} is taken, perhaps by another cluster"),
            ports.hold("127.0.0.1", one),
        ):
            pass
        with ports.hold("127.0.0.1", other):
            pass
    with ports.hold("127.0.0.1", one):
        pass


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("[::]", "127.0.0.1"),
        ("0.0.0.0", "[::]"),
        ("localhost", "127.0.0.1"),
        ("[::1]", "::1"),
    ],
)
def test_a_port_is_kept_wherever_one_would_be_in_the_others_way(first: str, second: str) -> None:
    (port,) = ports.free(1)
    for one, other in ((first, second), (second, first)):
        with (
            ports.hold(one, port),
            pytest.raises(ClusterError, match=f"port {port} is taken"),
            ports.hold(other, port),
        ):
            pass
    with ports.hold(second, port):
        pass


def test_one_port_at_two_addresses_is_two_clusters_and_no_third_at_all_of_them() -> None:
    (port,) = ports.free(1)
    with ports.hold("127.0.0.1", port), ports.hold("127.0.0.2", port), ports.hold("[::1]", port):
        with pytest.raises(ClusterError), ports.hold("127.0.0.2", port):
            pass
        with pytest.raises(ClusterError), ports.hold("0.0.0.0", port):
            pass
        with ports.hold("127.0.0.3", port):
            pass


def test_a_launcher_that_is_killed_keeps_no_port() -> None:
    (port,) = ports.free(1)
    code = f"from cli.cluster import ports\nwith ports.hold('127.0.0.1', {port}): print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "held\n"
        with pytest.raises(ClusterError), ports.hold("127.0.0.1", port):
            pass
        launcher.kill()
    with ports.hold("127.0.0.1", port):
        pass


def test_connections_that_have_ended_take_no_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as caller:
            server.accept()[0].close()  # who closes first keeps the port for a while
            caller.recv(1)
    assert ports.is_free("127.0.0.1", port)


def test_elsewhere_than_on_linux_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    (port,) = ports.free(1)
    with ports.hold("127.0.0.1", port), ports.hold("127.0.0.1", port):
        pass


def test_the_reason_is_the_one_that_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what is found when it is asked for again."""
    found = iter([PermissionError(errno.EACCES, "Permission denied"), None])
    monkeypatch.setattr(ports, "refusal", lambda host, port: next(found))
    with pytest.raises(ClusterError, match="may not open port 80"):
        ports.Chosen().following("127.0.0.1", 80, 1, "--port")


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 1), (2, 2), (0, 2), (2, 1)])
def test_two_clusters_that_start_at_once_do_not_share_a_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, second: int
) -> None:
    class Loading:
        """Of processes that have not opened their port yet, or fail."""

        members = ()
        fails = False

        def __init__(self, *arguments: object) -> None:
            pass

        def start(self) -> None:
            if self.fails:
                raise ClusterError("one of them died")

        def stop(self) -> bool:
            return True

    monkeypatch.setattr("cli.cluster.cluster.Supervisor", Loading)
    for name in ("detector", "tiny"):
        (tmp_path / name).mkdir()
    (port,) = ports.free(1)
    settings = ClusterSettings(
        port=port, metrics_port=0, models_dir=tmp_path, classifiers={"tiny": 1.0}, processes=first, cache=False
    )
    with Cluster(settings), pytest.raises(ClusterError, match=f"port {port} is taken, perhaps by another cluster"):
        Cluster(replace(settings, processes=second)).start()
    monkeypatch.setattr(Loading, "fails", True)
    with pytest.raises(ClusterError, match="one of them died"):
        Cluster(settings).start()
    monkeypatch.setattr(Loading, "fails", False)
    with Cluster(settings):
        pass
