"""Opening a run directory: what it writes first, what it goes on with, what it refuses without a change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from exspin.config import Config, load_config
from exspin.data import load
from exspin.errors import ConfigError, RunError
from exspin.ledger import read_json, run_lock
from exspin.run_directory import (
    RunDirectory,
    check_place,
    check_start,
    digest_split,
    open_run,
    read_run_config,
    versions,
)

DATA = {"train": "a", "dev": "b"}


def started(path: Path, **changes: object) -> Path:
    with open_run(path, Config().model_copy(update=changes), DATA):
        pass
    return path


def test_the_resolved_configuration_comes_first(tmp_path: Path) -> None:
    place = started(tmp_path / "run", seed=7)
    assert yaml.safe_load((place / "config.yaml").read_text())["learning"]["lambda"] == 0.1
    assert read_run_config(place).seed == 7
    record = read_json(place / "environment.json")
    assert record["data"] == DATA and record["versions"] == versions() and record["resumed"] == []


def test_the_digest_of_a_split_is_of_all_that_a_run_uses_of_it(small_bird: Path) -> None:
    split = load(f"bird:{small_bird}", "dev")
    (name,) = split.databases
    content = Path(split.databases[name].path)
    others = [
        replace(split, examples=split.examples[1:]),
        replace(split, descriptions={}),
        replace(split, quarantined={split.examples[0].example_id: "failing"}),
        replace(split, descriptions={}, quarantined={split.examples[0].example_id: "failing"}),
    ]
    digests = [digest_split(each) for each in (split, *others)]
    assert digest_split(load(f"bird:{small_bird}", "dev")) == digests[0]
    content.write_bytes(content.read_bytes() + b"\0")
    assert len({digest_split(split), *digests}) == 6


def test_paths(tmp_path: Path) -> None:
    place = RunDirectory(tmp_path)
    assert place.checkpoint(0) == tmp_path / "sft" / "checkpoint"
    assert place.stage(2) == tmp_path / "round-2"


def test_the_same_again_and_more_rounds_are_welcome(tmp_path: Path) -> None:
    place = started(tmp_path / "run")
    started(place)
    started(place, rounds=5)
    assert read_run_config(place).rounds == 5


def test_another_configuration_is_refused_by_its_key(tmp_path: Path) -> None:
    place = started(tmp_path / "run")
    before = (place / "config.yaml").read_bytes()
    other = load_config(None, ["learning.lambda=0.7", "rounds=9"])
    with (
        pytest.raises(RunError, match=r"\(learning\.lambda changed\)"),
        open_run(place, other, DATA),
    ):
        pass
    assert (place / "config.yaml").read_bytes() == before


def test_other_data_are_refused_by_their_split(tmp_path: Path) -> None:
    place = started(tmp_path / "run")
    before = (place / "config.yaml").read_bytes()
    with (
        pytest.raises(RunError, match=r"data changed since the run began \(split dev\)"),
        open_run(place, Config(rounds=9), {**DATA, "dev": "c"}),
    ):
        pass
    assert (place / "config.yaml").read_bytes() == before


def test_another_environment_is_noted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = started(tmp_path / "run")
    monkeypatch.setattr("exspin.run_directory.versions", lambda: {"torch": "99"})
    started(place)
    started(place)
    (resumed,) = read_json(place / "environment.json")["resumed"]
    assert resumed["versions"] == {"torch": "99"}


def test_a_place_that_holds_other_things_or_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"notes\.txt"):
        check_place(tmp_path)
    with pytest.raises(RunError, match="not a directory"):
        check_place(tmp_path / "notes.txt")
    check_place(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_start_that_was_killed_at_once_is_no_other_thing(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / "config.yaml.tmp").write_text("half")
    started(tmp_path / "run")
    assert (tmp_path / "run" / "config.yaml").read_text() != "half"


def test_what_can_be_refused_at_once(tmp_path: Path) -> None:
    check_start(tmp_path / "new" / "run", Config())
    assert not (tmp_path / "new").exists()
    place = started(tmp_path / "run")
    check_start(place, Config())
    with pytest.raises(RunError, match="seed changed"):
        check_start(place, Config(seed=5))
    with run_lock(place), pytest.raises(RunError, match="another run"):
        check_start(place, Config())
    with pytest.raises(RunError, match="cannot be written"):
        check_start(Path("/proc/run"), Config())
    check_start(place, Config())


def test_a_second_run_waits_outside(tmp_path: Path) -> None:
    with (
        run_lock(tmp_path / "run"),
        pytest.raises(RunError, match="another run"),
        open_run(tmp_path / "run", Config(), DATA),
    ):
        pass
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_no_run_and_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        read_run_config(tmp_path)
    (tmp_path / "config.yaml").write_text("seed: [")
    with pytest.raises(ConfigError, match=f"damaged; .*delete {tmp_path} to begin anew"):
        read_run_config(tmp_path)


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"data": {}}'])
def test_a_damaged_environment_is_refused_with_what_to_delete(tmp_path: Path, content: str) -> None:
    place = started(tmp_path / "run")
    (place / "environment.json").write_text(content)
    with pytest.raises(RunError, match=r"environment\.json: damaged; put it back, or delete it"):
        started(place)
    (place / "environment.json").unlink()
    started(place)
