"""The `ferry` command."""

import serving  # noqa: F401  (says what gRPC and others have to know before they are imported)
