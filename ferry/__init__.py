"""Ferry, facial expression recognition: `ferry.client` calls the cluster, `ferry.v1` is the contract."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ferry")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0.0.0"
