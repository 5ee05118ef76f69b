"""The whole cluster in one process: gateway, ensembler and models call each other without a socket."""

import serving  # noqa: F401  (says what gRPC and others have to know before they are imported)
