"""The edge of Ferry: admits images, answers from the result cache, asks the pipeline for the rest."""

import serving  # noqa: F401  (says what gRPC and others have to know before they are imported)
