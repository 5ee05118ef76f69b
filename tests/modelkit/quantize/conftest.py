from __future__ import annotations

import importlib.util

# Without the toolchain's packages these files cannot even be imported.
collect_ignore_glob = [] if importlib.util.find_spec("pyarrow") else ["test_*.py"]
