"""What a person may write to say which versions are served."""

import pytest

from serving.repository.policy import VersionPolicy, parse_policies


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("efficientnet", (VersionPolicy("efficientnet", ("stable",)),)),
        ("efficientnet:stable", (VersionPolicy("efficientnet", ("stable",)),)),
        ("efficientnet:latest", (VersionPolicy("efficientnet", ("latest",)),)),
        ("efficientnet:2", (VersionPolicy("efficientnet", ("2",)),)),
        ("arcface:2+1", (VersionPolicy("arcface", ("2", "1")),)),
        (" a , b:3 ", (VersionPolicy("a", ("stable",)), VersionPolicy("b", ("3",)))),
    ],
)
def test_policies(text: str, expected: tuple[VersionPolicy, ...]) -> None:
    assert parse_policies(text) == expected


def test_only_latest_follows_the_repository() -> None:
    follow, pinned = parse_policies("a,b:1")
    assert follow.follows
    assert not pinned.follows


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "a,",
        "Efficientnet",
        "../secret",
        "a/b",
        "a:two",
        "a:1+",
        "a:1+latest",
        "a:-1",
        "a:1234567890",
        "a,a",
        "a:1+1",
        ",".join(f"m{i}" for i in range(17)),
        "x" * 64,
    ],
)
def test_what_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"model|version"):
        parse_policies(text)
