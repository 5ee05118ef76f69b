"""Tables are there whole, whoever makes the same at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from modelkit.data.tables import write_table


def test_two_commands_that_find_the_same_at_once_do_not_write_into_each_others_file(tmp_path: Path) -> None:
    path, column = tmp_path / "work" / "found.npz", np.arange(50_000)

    def find(_: int) -> bool:
        write_table(path, {"found": column})
        with np.load(path) as table:
            return bool((table["found"] == column).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(find, range(40)))
    assert list(path.parent.iterdir()) == [path]
