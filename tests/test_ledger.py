"""Files that survive a kill: all or nothing, digests, finished stages, one run a directory."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from exspin.errors import DataError, RunError
from exspin.ledger import (
    DONE,
    Stage,
    digest_bytes,
    digest_file,
    digest_json,
    read_json,
    read_jsonl,
    run_lock,
    write_bytes,
    write_json,
    write_jsonl,
)


def test_digests() -> None:
    assert digest_bytes(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1}) != digest_json({"a": 1})


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    write_bytes(tmp_path / "deep" / "file", b"content")
    assert digest_file(tmp_path / "deep" / "file") == digest_bytes(b"content")


def test_what_cannot_be_written_whole_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes(tmp_path / "file", b"old")

    def no_room(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", no_room)
    with pytest.raises(RunError, match="the disk is full; free some space"):
        write_bytes(tmp_path / "file", b"new")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"file": b"old"}


def test_json_lines_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [{"text": "naïve\n'\ud800'"}, {"n": 1.5, "none": None}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert list(read_jsonl(tmp_path / "rows.jsonl")) == rows
    write_json(tmp_path / "one.json", rows[1])
    assert read_json(tmp_path / "one.json") == rows[1]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"a":\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:2: not JSON"):
        list(read_jsonl(tmp_path / "rows.jsonl"))
    (tmp_path / "one.json").write_text("{")
    with pytest.raises(DataError, match=r"one\.json: cannot be read as JSON"):
        read_json(tmp_path / "one.json")


def finished(directory: Path, **inputs: str) -> Stage:
    stage = Stage(directory, "execute", inputs)
    write_bytes(directory / "outcomes.jsonl", b"{}\n")
    stage.finish([directory / "outcomes.jsonl"])
    return stage


def test_a_stage_is_done_once_its_record_is_there(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "execute", {"opponent": "a"})
    assert not stage.is_done()
    write_bytes(tmp_path / "outcomes.jsonl", b"{}\n")
    assert not stage.is_done()
    stage.finish([tmp_path / "outcomes.jsonl"])
    assert stage.is_done()
    assert not Stage(tmp_path, "train", {"opponent": "a"}).is_done()
    record = json.loads((tmp_path / DONE).read_text())["execute"]
    assert record == {
        "inputs": {"opponent": "a"},
        "outputs": {"outcomes.jsonl": digest_bytes(b"{}\n")},
    }


def test_a_stage_made_from_other_inputs_is_refused(tmp_path: Path) -> None:
    finished(tmp_path, opponent="a", data="d")
    for inputs in ({"opponent": "b", "data": "d"}, {"data": "d"}):
        with pytest.raises(RunError, match="opponent changed"):
            Stage(tmp_path, "execute", inputs).is_done()


@pytest.mark.parametrize(("damage", "said"), [("change", "changed"), ("delete", "missing")])
def test_a_stage_whose_files_are_not_whole_is_refused_with_what_to_delete(
    tmp_path: Path, damage: str, said: str
) -> None:
    stage = Stage(tmp_path, "evaluate", {"policy": "a"})
    files = [tmp_path / name for name in ("predictions.jsonl", "scores.json", "checkpoint/config")]
    for file in files:
        write_bytes(file, b"{}\n")
    stage.finish(files)
    if damage == "change":
        files[0].write_text("{ }\n")
    else:
        files[0].unlink()
    with pytest.raises(
        RunError, match=rf"predictions\.jsonl: {said} since stage 'evaluate'"
    ) as error:
        stage.is_done()
    assert f"delete checkpoint, predictions.jsonl, scores.json in {tmp_path}" in str(error.value)
    for file in files:
        file.unlink(missing_ok=True)
    assert not stage.is_done()


def test_a_stage_made_again_takes_back_those_after_it(tmp_path: Path) -> None:
    stages = {name: Stage(tmp_path, name, {}) for name in ("generate", "execute", "train")}
    for name, stage in stages.items():
        write_bytes(tmp_path / name, b"1")
        stage.finish([tmp_path / name])
    write_bytes(tmp_path / "execute", b"2")
    stages["execute"].finish([tmp_path / "execute"])
    assert [stage.is_done() for stage in stages.values()] == [True, True, False]


@pytest.mark.parametrize("content", ["{", "[1]", '{"train": 1}', '{"train": {"inputs": {}}}'])
def test_a_damaged_record_of_stages_is_refused_with_what_to_delete(
    tmp_path: Path, content: str
) -> None:
    stage = finished(tmp_path, opponent="a")
    (tmp_path / DONE).write_text(content)
    with pytest.raises(RunError, match=rf"done\.json: damaged.*delete {tmp_path} to make"):
        stage.is_done()


def test_one_run_holds_a_directory(tmp_path: Path) -> None:
    with (
        run_lock(tmp_path / "run"),
        pytest.raises(RunError, match=f"another run \\(process {os.getpid()}\\)"),
        run_lock(tmp_path / "run"),
    ):
        pass
    with run_lock(tmp_path / "run"):
        pass
