"""Whether a stored version would serve: it loads, and answers as its manifest says."""

from __future__ import annotations

import numpy as np

from serving.models.backends import load_backend
from serving.models.outputs import check_outputs
from serving.models.tuning import probe
from serving.repository.repository import InvalidModelError, StoredModel

ROWS = 2


def verify(stored: StoredModel) -> None:
    """Runs every variant of a version whose digests have been checked.

    Raises:
        InvalidModelError: outputs are missing, have other shapes, or are not finite.
        ModelLoadError: a variant cannot be loaded.
    """
    rows = probe(stored.manifest.input, ROWS)
    for variant in stored.manifest.variants:
        here = f"{stored.file(variant)}"
        backend = load_backend(stored.file(variant))
        try:
            outputs = backend.run(rows)
        except Exception as error:
            raise InvalidModelError(f"{here} does not run on the input its manifest describes: {error}") from error
        check_outputs(stored.manifest, outputs, ROWS)
        if not all(np.isfinite(values).all() for values in outputs.values()):
            raise InvalidModelError(f"{here} answers with numbers that are not finite")
