"""Routing tables that fit, and what is said of those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.routing.table import RoutingTable, only_stable
from serving.config_file import ConfigFileError, read_config
from tests.processes import outcome

GOOD = """
salt = "spring"
[[variants]]
name = "stable"
address = "ensembler:50052"
weight = 3
[[variants]]
name = "canary"
address = "ensembler-canary:50052"
weight = 1.0
"""


def read(folder: Path, text: str) -> RoutingTable:
    path = folder / "routing.toml"
    path.write_text(text)
    return read_config(path, RoutingTable)


def test_weights_become_shares(tmp_path: Path) -> None:
    table = read(tmp_path, GOOD)
    assert table.shares == {"stable": 0.75, "canary": 0.25}
    assert [entry.shadow for entry in table.variants] == [0, 0]


def test_without_a_file_one_ensembler_answers_everybody() -> None:
    assert only_stable("ensembler:50052").shares == {"stable": 1.0}


def test_a_share_is_written_as_a_person_would_and_in_the_weights_of_the_table(tmp_path: Path) -> None:
    table = read(tmp_path, GOOD)
    for share, weights in ((0.05, [3.8, 0.2]), (1.0, [0.0, 4.0]), (0.0, [4.0, 0.0]), (1 / 3, [2.66666667, 1.33333333])):
        changed = table.with_share("canary", share)
        assert [entry.weight for entry in changed.variants] == weights
        assert (changed.salt, changed.variants[1].address) == (table.salt, table.variants[1].address)
    third = read(tmp_path, GOOD + '[[variants]]\nname = "trial"\naddress = "e:1"\nweight = 4.0')
    assert third.with_share("canary", 0.5).shares == {"stable": 0, "canary": 0.5, "trial": 0.5}
    with pytest.raises(ValueError, match=r"canary cannot have 51\.0% of .* stable and it have 50\.0%"):
        third.with_share("canary", 0.51)


@pytest.mark.parametrize("share", [float("nan"), float("inf"), -1.0, 1.01])
def test_what_is_no_share_gives_nobody_away(tmp_path: Path, share: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        read(tmp_path, GOOD).with_share("canary", share)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(GOOD.replace("= 3", "= -1"), "variants.0.weight: must be at least 0", id="negative"),
        pytest.param(GOOD.replace("1.0", "nan"), "variants.1.weight: .*finite", id="NaN"),
        pytest.param(GOOD.replace("1.0", "inf"), "variants.1.weight: .*", id="infinite"),
        pytest.param(GOOD.replace("1.0", '"1"'), "variants.1.weight", id="weight in words"),
        pytest.param(GOOD.replace("1.0", "true"), "variants.1.weight", id="weight that is true"),
        pytest.param(GOOD.replace("weight = 1.0", ""), "variants.1.weight: is missing", id="no weight"),
        pytest.param(GOOD.replace("= 3", "= 0").replace("1.0", "0"), "all weights are 0", id="nobody answers"),
        pytest.param(GOOD.replace('"canary"', '"stable"'), "same name, stable", id="name twice"),
        pytest.param(GOOD.replace('"stable"', '"blue"'), "none is named 'stable'", id="no stable"),
        pytest.param(GOOD.replace('"canary"', '"Canary 2"'), "variants.1.name", id="name that is no label"),
        pytest.param(GOOD.replace("canary:50052", "canary"), "variants.1.address: must be host:port", id="no port"),
        pytest.param(GOOD.replace('"ensembler:50052"', '""'), "variants.0.address", id="no address"),
        pytest.param(GOOD + "colour = 1", "variants.1.colour: is not known here", id="unknown key of a variant"),
        pytest.param("colour = 1\n" + GOOD, "colour: is not known here", id="unknown key"),
        pytest.param(GOOD.replace("1.0", "1.0\nshadow = 1.5"), "variants.1.shadow", id="shadow above 1"),
        pytest.param(GOOD.replace("spring", "s" * 65), "salt: is longer", id="long salt"),
        pytest.param('salt = "x"', "variants: is missing", id="no variants"),
        pytest.param("variants = []", "variants", id="empty"),
        pytest.param(GOOD + "weight 7", r"\(at line 11, column 8\)", id="no TOML"),
        pytest.param("#" * 70000, "larger than", id="huge"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_and_the_error_says_where(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigFileError, match=f"routing.toml: .*{said}"):
        read(tmp_path, text)


def test_entries_that_do_not_fit_are_not_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError) as refused:
        read(tmp_path, GOOD.replace("address", "adress"))
    assert "variants.1.adress: is not known here" in str(refused.value)
    assert "must hold" not in str(refused.value)


def test_a_file_that_is_not_there_is_said_so_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError) as refused:
        read_config(tmp_path / "none.toml", RoutingTable)
    assert str(refused.value) == f"{tmp_path / 'none.toml'}: No such file or directory"


@pytest.mark.e2e
def test_a_gateway_does_not_start_with_one(tmp_path: Path) -> None:
    (tmp_path / "routing.toml").write_text(GOOD.replace("= 3", "= -1"))
    code, said = outcome(["-m", "gateway", "--port", "0"], FERRY_ROUTING_FILE=str(tmp_path / "routing.toml"))
    assert code == 2
    assert "--routing-file (or FERRY_ROUTING_FILE)" in said
    assert "variants.0.weight" in said
