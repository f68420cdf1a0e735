"""`$NAME` in a text: what is filled in, what stays, what is missed."""

from __future__ import annotations

import pytest

from exspin.environment import NotSet, expand, has_names


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "/data set")
    monkeypatch.setenv("AGAIN", "$PLACE")
    monkeypatch.delenv("NOT_SET_HERE", raising=False)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("spider:$PLACE/spider", "spider:/data set/spider"),
        ("spider:${PLACE}s", "spider:/data sets"),
        ("a $ b, 5$, $", "a $ b, 5$, $"),
        ("$AGAIN", "$PLACE"),  # once
        ("", ""),
    ],
)
def test_names_are_filled_in(text: str, filled: str) -> None:
    assert expand(text) == filled


def test_a_value_can_be_made_to_fit_its_place() -> None:
    assert expand("<$PLACE>", lambda value: value.replace(" ", "%20")) == "</data%20set>"


def test_a_name_that_is_not_set() -> None:
    with pytest.raises(NotSet, match="needs the environment variable NOT_SET_HERE, which is not"):
        expand("$PLACE/${NOT_SET_HERE}")


def test_whether_there_are_names() -> None:
    assert has_names("a$B") and has_names("${B}") and not has_names("a$ b")
