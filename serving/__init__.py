"""What every service stands on."""

import os

# ONNX Runtime reports each model that it loads to its makers over the network, unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# What gRPC's core says on standard error is no JSON, and mostly of no use; it too looks when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
