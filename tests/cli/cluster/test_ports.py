"""Who keeps a port, and from whom."""

from __future__ import annotations

import socket
from pathlib import Path

import grpc
import pytest

from cli.cluster import Cluster, ClusterError, ClusterSettings, ports


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_port_is_kept_for_those_who_share_it_and_from_others(host: str) -> None:
    (port,) = ports.free(1)
    with ports.hold(host, port):
        for other in (host, "127.0.0.1", "0.0.0.0"):
            assert not ports.is_free(other, port)
            with pytest.raises(ClusterError, match=f"port {port} is taken"):
                ports.hold(other, port)
        sharing = [grpc.server(None, options=[("grpc.so_reuseport", 1)]) for _ in range(2)]  # type: ignore[arg-type]
        assert [server.add_insecure_port(f"{host}:{port}") for server in sharing] == [port, port]
        with pytest.raises(RuntimeError):
            grpc.server(None, options=[("grpc.so_reuseport", 0)]).add_insecure_port(f"{host}:{port}")  # type: ignore[arg-type]
        del sharing


def test_who_keeps_a_port_is_sent_no_connection() -> None:
    (port,) = ports.free(1)
    with ports.hold("127.0.0.1", port), socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen()
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                listening.settimeout(5)
                listening.accept()[0].close()


def test_connections_that_have_ended_take_no_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as caller:
            server.accept()[0].close()  # who closes first keeps the port for a while
            caller.recv(1)
    ports.hold("127.0.0.1", port).close()
    assert ports.is_free("127.0.0.1", port)


def test_a_host_that_is_not_this_machine_has_no_port_to_keep() -> None:
    with pytest.raises(ClusterError, match="no address of this machine"):
        ports.hold("192.0.2.1", 0)


def test_two_clusters_that_start_at_once_do_not_share_a_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        port=port, metrics_port=0, models_dir=tmp_path, classifiers={"tiny": 1.0}, processes=2, cache=False
    )
    with Cluster(settings), pytest.raises(ClusterError, match=f"port {port} is taken, perhaps by another cluster"):
        Cluster(settings).start()
    monkeypatch.setattr(Loading, "fails", True)
    with pytest.raises(ClusterError, match="one of them died"):
        Cluster(settings).start()
    monkeypatch.setattr(Loading, "fails", False)
    with Cluster(settings):
        pass
