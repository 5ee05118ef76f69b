"""Ferry as a handful of processes on this machine: `with Cluster(ClusterSettings(port=0)) as cluster: ...`."""

from cli.cluster.cluster import Cluster, Endpoint
from cli.cluster.errors import ClusterError
from cli.cluster.settings import ClusterSettings

__all__ = ["Cluster", "ClusterError", "ClusterSettings", "Endpoint"]
