"""A quarantine file: what it marks, what it passes over, and what in it is an error with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exspin.data import joined, load, remarks, select_questions
from exspin.data.export import export
from exspin.errors import DataError

ROW = {"example_id": "spider/dev/1", "reason": "failing", "db_id": "farm", "query": "SELECT name FROM pet"}  # fmt: skip


def written(tmp_path: Path, *rows: object) -> Path:
    path = tmp_path / "quarantine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_marked_row_stays_in_the_split_and_is_not_usable(
    small_spider: Path, tmp_path: Path
) -> None:
    spec = f"spider:{small_spider}"
    split = load(spec, "dev", quarantine=written(tmp_path, ROW))
    assert len(split.examples) == 12
    assert split.quarantined == {"spider/dev/1": "failing"}
    assert "spider/dev/1" not in {e.example_id for e in split.usable()}
    assert len(split.usable()) == 5
    chosen = select_questions(split, questions=None, databases=None, seed=0)
    assert chosen == split.usable()
    missing, said = remarks(split)
    assert "databases missing" in missing
    assert said == (
        f"{spec} dev: 1 of 12 questions are quarantined (failing 1); "
        "they are not trained on and count as gold_unusable"
    )


@pytest.mark.parametrize(
    ("spec", "split", "example_id"),
    [
        ("builtin", "dev", "builtin/dev/3"),
        ("builtin", "train,dev", "builtin/dev/3"),
        ("spider", "dev", "spider/dev/1"),
        ("spider", "fit", "spider/train/1"),
        ("spider-syn", "dev", "spider-syn/dev/1"),
        ("bird", "dev", "bird/dev/2"),
        ("bird", "fit", "bird/train/9"),
        ("pairs", "dev", "pairs/dev/1"),
        ("pairs", "train", "pairs/train/1"),
    ],
)
def test_every_kind_of_data_honours_it(
    small_spider: Path, small_bird: Path, tmp_path: Path, spec: str, split: str, example_id: str
) -> None:
    synonyms = tmp_path / "spider-syn"
    synonyms.mkdir()
    text = (small_spider / "dev.json").read_text()
    (synonyms / "dev.json").write_text(text.replace('"question"', '"SpiderSynQuestion"'))
    folders = {"spider": small_spider, "spider-syn": synonyms, "bird": small_bird}
    if spec == "pairs":
        folders["pairs"] = tmp_path / "own"
        export(f"spider:{small_spider}", "train,dev", folders["pairs"])
    where = f"{spec}:{folders[spec]}" if spec in folders else spec
    marks = written(tmp_path, {"example_id": example_id, "reason": "ties"})
    found = load(where, split, quarantine=marks)
    assert found.quarantined == {example_id: "ties"}
    assert len(found.usable()) == len(load(where, split).usable()) - 1


def test_one_file_serves_all_splits(small_spider: Path, tmp_path: Path) -> None:
    path = written(
        tmp_path,
        ROW,
        {"example_id": "spider/train/0", "reason": "ties"},
        {"example_id": "bird/dev/7", "reason": "slow"},
    )
    both = load(f"spider:{small_spider}", "fit,dev", quarantine=path)
    assert both.quarantined == {"spider/train/0": "ties", "spider/dev/1": "failing"}
    parts = [load(f"spider:{small_spider}", name, quarantine=path) for name in ("fit", "dev")]
    assert joined(parts).quarantined == both.quarantined
    train = load(f"spider:{small_spider}", "train", quarantine=path)
    assert train.quarantined == {"spider/train/0": "ties"}


def test_an_empty_file_marks_nothing(small_spider: Path, tmp_path: Path) -> None:
    split = load(f"spider:{small_spider}", "dev", quarantine=written(tmp_path))
    assert split.quarantined == {}
    assert not any("quarantined" in line for line in remarks(split))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW, ROW], r"jsonl:2: 'spider/dev/1' stands twice"),
        ([{"example_id": "x"}], r"jsonl:1: field 'reason' is missing"),
        ([{"reason": "x"}], r"jsonl:1: field 'example_id' is missing"),
        ([{**ROW, "db_id": "lost"}], r"jsonl:1: db_id of 'spider/dev/1' is 'lost' here and 'farm'"),
        ([{**ROW, "query": "SELECT 1"}], r"jsonl:1: query of .*; the data changed since the audit"),
        ([[1]], r"jsonl:1: a JSON array; .* in braces a line"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    rows: list[object], message: str, small_spider: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        load(f"spider:{small_spider}", "dev", quarantine=written(tmp_path, *rows))


def test_a_file_that_is_not_there(small_spider: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.jsonl: cannot be read .*exspin audit"):
        load(f"spider:{small_spider}", "dev", quarantine=tmp_path / "none.jsonl")
