"""What a cluster leaves behind: nothing, or the logs that say what went wrong."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from cli.cluster import Cluster, ClusterError, ClusterSettings, ports


class Processes:
    """In place of a supervisor; starts as `failure` says."""

    members = ()
    failure: BaseException | None = None
    clean = True

    def __init__(self, *arguments: object) -> None:
        pass

    def start(self) -> None:
        if self.failure is not None:
            raise self.failure

    def stop(self) -> bool:
        return self.clean


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr("cli.cluster.cluster.Supervisor", Processes)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    for name in ("tmp", "models/detector", "models/tiny"):
        (tmp_path / name).mkdir(parents=True)
    (port,) = ports.free(1)
    return Cluster(
        ClusterSettings(
            port=port, metrics_port=0, models_dir=tmp_path / "models", classifiers={"tiny": 1.0}, cache=False
        )
    )


def left(cluster: Cluster) -> bool:
    """Whether there is a folder of it."""
    return cluster.log_dir.parent.exists()


def test_a_clean_end_leaves_nothing(cluster: Cluster) -> None:
    for _ in range(2):
        cluster.start()
        assert cluster.log_dir.is_dir()
        assert cluster.stop()
        assert not left(cluster)


def test_an_end_that_is_not_clean_leaves_the_logs(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Processes, "clean", False)
    cluster.start()
    assert not cluster.stop()
    assert cluster.log_dir.is_dir()


def test_a_start_that_fails_leaves_the_logs_until_it_is_stopped_and_no_port(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Processes, "failure", ClusterError("one of them died"))
    with pytest.raises(ClusterError, match="one of them died"):
        cluster.start()
    assert cluster.log_dir.is_dir()
    with ports.hold(cluster.settings.host, cluster.settings.port):
        pass
    assert cluster.stop()
    assert not left(cluster)


def test_a_start_that_is_given_up_leaves_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Processes, "failure", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        cluster.start()
    assert not left(cluster)


def test_a_cluster_without_its_port_leaves_nothing(cluster: Cluster) -> None:
    with ports.hold(cluster.settings.host, cluster.settings.port), pytest.raises(ClusterError, match="is taken"):
        cluster.start()
    assert not left(cluster)
