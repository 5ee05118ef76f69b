"""The offline toolchain."""

import serving  # noqa: F401  (keeps ONNX Runtime, which modules here import too, from reporting over the network)
