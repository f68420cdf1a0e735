"""A hub id is found, found in the cache, or refused in one line after one request; the network is made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", reason="needs the extra [train]")

import huggingface_hub.constants
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from exspin.errors import ModelError
from exspin.hub import NoAnswer, cached_alone


class Answer:
    """What the errors of the hub's client keep of an answer."""

    headers: dict[str, str] = {}  # noqa: RUF012
    request = None


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Sets what the hub answers; the cache is empty."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    asked: list[str] = []

    def answers(error: Exception | None) -> list[str]:
        def model_info(self: HfApi, name: str, **_: Any) -> None:
            asked.append(name)
            if error:
                raise error

        monkeypatch.setattr(HfApi, "model_info", model_info)
        return asked

    return answers


def cache(folder: Path, name: str) -> None:
    place = folder / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc")
    (place / "snapshots" / "abc").mkdir(parents=True)
    (place / "snapshots" / "abc" / "config.json").write_text("{}")


def test_a_model_the_hub_has(hub: Any) -> None:
    hub(None)
    assert not cached_alone("some/model")


GONE = RepositoryNotFoundError("gone", response=Answer())  # type: ignore[arg-type]
SILENT = [NoAnswer("no route"), ConnectionError("off line"), GONE]


@pytest.mark.parametrize("error", SILENT, ids=["no answer", "off line", "not there"])
def test_what_only_the_cache_has_comes_from_it(hub: Any, tmp_path: Path, error: Exception) -> None:
    hub(error)
    cache(tmp_path, "some/model")
    assert cached_alone("some/model")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SILENT[0], r"no/such: not in the cache, and the hub cannot be reached \(no route\)"),
        (SILENT[1], "hub cannot be reached"),
        (SILENT[2], "no/such: the hub has no such model, or it is private; check the spelling"),
    ],
    ids=["no answer", "off line", "not there"],
)
def test_what_nobody_has_is_refused_after_one_request(
    hub: Any, error: Exception, said: str
) -> None:
    asked = hub(error)
    with pytest.raises(ModelError, match=said):
        cached_alone("no/such")
    assert asked == ["no/such"]


def test_a_hub_in_trouble_is_left_to_the_libraries(hub: Any) -> None:
    hub(HfHubHTTPError("503", response=Answer()))  # type: ignore[arg-type]
    assert not cached_alone("some/model")


def test_what_can_be_no_hub_id(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="neither a directory nor a hub id"):
        cached_alone("no/such model")
