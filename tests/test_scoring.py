"""Scoring prediction files: what is counted, how files compare, and agreement with the reference evaluator."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from exspin.data import Split, load
from exspin.errors import ConfigError, DataError, RunError
from exspin.records import Database, Example, Outcome, Verdict
from exspin.scoring import score, score_files, summarise
from exspin.sql.execute import Executor, Job

GOLDS = [
    ("stage", "SELECT name FROM singer WHERE age > 30"),
    ("stage", "SELECT count(*) FROM singer"),
    ("gone", "SELECT 1"),
    ("stage", "SELECT nowhere FROM singer"),
    ("stage", "SELECT name FROM singer ORDER BY age"),
]


@pytest.fixture
def split(tmp_path: Path) -> Split:
    path = tmp_path / "stage.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE singer (name TEXT, age INTEGER)")
        connection.execute("INSERT INTO singer VALUES ('Ada', 36), ('Bo', 29)")
    connection.close()
    examples = tuple(
        Example(f"x/dev/{i}", i, db_id, "?", sql) for i, (db_id, sql) in enumerate(GOLDS)
    )
    return Split("x", "dev", examples, {"stage": Database.sqlite("stage", path)}, {"gone": 1})


def written(tmp_path: Path, text: str, name: str = "predictions.sql") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def test_a_score_counts_every_row_once(split: Split, tmp_path: Path) -> None:
    lines = [
        "SELECT name FROM singer WHERE age = 36",
        "",
        "SELECT 1",
        "SELECT 1",
        "SELECT name FROM singer ORDER BY age DESC",
    ]
    verdicts = tmp_path / "verdicts.jsonl"
    told: list[int] = []
    scored = score(
        split,
        written(tmp_path, "\n".join(lines)),
        verdicts=verdicts,
        workers=1,
        progress=told.append,
    )
    assert (scored.n, scored.scored, scored.gold_unusable, scored.ex) == (
        5,
        3,
        2,
        pytest.approx(1 / 3),
    )
    assert {outcome: count for outcome, count in scored.outcomes.items() if count} == {
        Outcome.MATCH: 1,
        Outcome.MISMATCH: 1,
        Outcome.NOT_A_QUERY: 1,
        Outcome.GOLD_UNUSABLE: 2,
    }
    assert [json.loads(line) for line in verdicts.read_text().splitlines()] == [
        {"index": 0, "db_id": "stage", "outcome": "match", "detail": ""},
        {"index": 1, "db_id": "stage", "outcome": "not_a_query", "detail": "empty"},
        {"index": 2, "db_id": "gone", "outcome": "gold_unusable", "detail": "database_missing"},
        {"index": 3, "db_id": "stage", "outcome": "gold_unusable", "detail": "no_such_column"},
        {"index": 4, "db_id": "stage", "outcome": "mismatch", "detail": "order"},
    ]
    assert sum(told) == 5


def test_the_json_has_the_promised_keys_and_parts_add_up(split: Split, tmp_path: Path) -> None:
    row = score(split, written(tmp_path, "\n".join(["SELECT 2"] * 5)), workers=1).to_json()
    assert list(row) == [
        "n",
        "scored",
        "gold_unusable",
        "ex",
        "ci95",
        "outcomes",
        "comparator",
        "seconds",
        "by_hardness",
        "by_database",
        "damaged",
    ]
    assert list(row["outcomes"]) == [outcome.value for outcome in Outcome]
    assert sum(row["outcomes"].values()) == row["n"] == 5
    for parts in (row["by_hardness"], row["by_database"]):
        assert sum(part["n"] for part in parts.values()) == 5
        assert sum(part["scored"] for part in parts.values()) == 3
    assert row["by_hardness"]["easy"]["n"] == 5
    assert json.loads(json.dumps(row)) == row


def test_hardness_goes_from_easy_to_hard_and_keeps_labels_of_others() -> None:
    names = ["unknown", "zig", "challenging", "extra", "moderate", "easy", "alt", "simple"]
    examples = [
        Example(str(n), n, "db", "?", "SELECT 1", hardness="" if name == "unknown" else name)
        for n, name in enumerate(names)
    ]
    verdicts = [Verdict(e.example_id, 0, Outcome.MATCH, "", "SELECT 1") for e in examples]
    found = summarise(verdicts, examples, "default").by_hardness
    assert list(found) == ["easy", "extra", "simple", "moderate", "challenging", "alt", "zig", "unknown"]  # fmt: skip
    assert sum(part.n for part in found.values()) == len(names)


def test_a_split_without_usable_gold_has_no_score_and_no_crash(
    split: Split, tmp_path: Path
) -> None:
    bare = Split("x", "dev", split.examples[2:3], {}, {"gone": 1})
    scored = score(bare, written(tmp_path, "SELECT 1\n"))
    assert (scored.n, scored.scored, scored.ex, scored.ci95) == (1, 0, 0.0, (0.0, 1.0))


FIVE = ["SELECT 1", "SELECT 2", "", "SELECT 4", "SELECT 5"]


def test_a_missing_file_and_an_unknown_comparator(split: Split, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.sql: cannot be read"):
        score(split, tmp_path / "gone.sql")
    with pytest.raises(ConfigError, match="exact"):
        score(split, written(tmp_path, "SELECT 1\n" * 5), comparator="exact")


WRONG = "SELECT 0"
BETTER = [
    "SELECT name FROM singer WHERE age = 36",
    "SELECT 2",
    "",
    "",
    "SELECT name FROM singer ORDER BY age",
]


def test_several_files_stand_side_by_side(split: Split, tmp_path: Path) -> None:
    """Of three scored rows A has none, B all, C the first: B fixes three of A, C breaks two of B."""
    files = [
        written(tmp_path, "\n".join(lines), f"{name}.sql")
        for name, lines in (("a", [WRONG] * 5), ("b", BETTER), ("c", [BETTER[0], *[WRONG] * 4]))
    ]
    told: list[int] = []
    places = [tmp_path / f"{name}.jsonl" for name in "abc"]
    scores = score_files(split, files, verdicts=places, workers=1, progress=told.append)
    assert [each.ex for each in scores.files] == [0.0, 1.0, pytest.approx(1 / 3)]
    assert scores.files[1].to_json() == {
        **score(split, files[1], workers=1).to_json(),
        "seconds": scores.files[1].seconds,
    }
    found = scores.to_json()
    assert list(found) == ["files", "pairs"]
    assert [row["predictions"] for row in found["files"]] == [str(path) for path in files]
    named = [(row["a"][-5], row["b"][-5], row["fixed"], row["broke"]) for row in found["pairs"]]
    assert named == [("a", "b", 3, 0), ("a", "c", 1, 0), ("b", "c", 0, 2)]
    first = found["pairs"][0]
    assert list(first) == ["a", "b", "diff", "ci95", "fixed", "broke", "p"]
    # three changes, all to the better: 2 · (1/2)³
    assert (first["diff"], first["p"]) == (1.0, 0.25)
    assert sum(told) == 15
    assert [len(place.read_text().splitlines()) for place in places] == [5, 5, 5]


def test_the_verdicts_of_two_files_do_not_mix(split: Split, tmp_path: Path) -> None:
    one, two = (written(tmp_path, "\n".join(FIVE), name) for name in ("1.sql", "2.sql"))
    for places, message in (
        ([tmp_path / "v"], "1 places for the verdicts of 2 files"),
        ([tmp_path / "v", tmp_path / "v"], "is given for the verdicts of two files"),
        ([tmp_path / "v", one], "is the file of predictions"),
    ):
        with pytest.raises(DataError, match=message):
            score_files(split, [one, two], verdicts=places)
    with pytest.raises(DataError, match="no file of predictions"):
        score_files(split, [])


def test_a_quarantined_row_is_counted_and_not_executed(split: Split, tmp_path: Path) -> None:
    """A missing database is said before the quarantine; the rest of the rows is as before."""
    marked = replace(split, quarantined={"x/dev/0": "failing", "x/dev/2": "failing"})
    verdicts = tmp_path / "v.jsonl"
    scored = score(marked, written(tmp_path, "\n".join(BETTER)), verdicts=verdicts, workers=1)
    assert (scored.n, scored.scored, scored.gold_unusable) == (5, 2, 3)
    assert sum(scored.outcomes.values()) == 5
    details = [json.loads(line)["detail"] for line in verdicts.read_text().splitlines()]
    assert details == ["quarantined", "", "database_missing", "no_such_column", ""]


@pytest.mark.parametrize(
    ("comparator", "outcome"), [("test-suite", "mismatch"), ("strict", "match")]
)
def test_a_tab_ends_a_line_for_the_test_suite_and_is_white_space_in_a_table(
    comparator: str, outcome: str, split: Split, tmp_path: Path
) -> None:
    """Its script cuts each line at the first tab; a field of a table is no line."""
    sql = "SELECT name FROM singer\tWHERE age > 30"
    one = replace(split, examples=split.examples[:1])
    from_lines = score(one, written(tmp_path, sql), comparator=comparator)
    from_table = score(one, written(tmp_path, f"sql\n{sql}\n", "p.csv"), comparator=comparator)
    assert from_lines.outcomes[Outcome(outcome)] == 1
    assert from_table.outcomes[Outcome.MATCH] == 1


def test_every_part_has_its_interval(split: Split, tmp_path: Path) -> None:
    scored = score(split, written(tmp_path, "\n".join(BETTER)), workers=1)
    for part in (*scored.by_hardness.values(), *scored.by_database.values()):
        assert part.ci95[0] <= part.ex <= part.ci95[1]
    assert scored.by_database["gone"].ci95 == (0.0, 1.0)  # nothing to go by


SYSTEMS = ("dail_sql_gpt4", "c3_chatgpt", "codes_7b_sft", "codellama_7b_zero_shot")


RULES = [("test-suite", "match"), ("test-suite-distinct", "match_keep_distinct")]


@pytest.mark.parametrize(("comparator", "key"), RULES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_real_predictions_score_as_the_reference_evaluator_says(
    system: str, comparator: str, key: str, exspin_data: Path, tmp_path: Path
) -> None:
    """All 972 judged rows of every system, and the 62 whose database is missing."""
    split = load(f"spider:{exspin_data / 'spider'}", "dev")
    folder = exspin_data / "predictions"
    verdicts = tmp_path / "verdicts.jsonl"
    scored = score(
        split, folder / "spider_dev" / f"{system}.sql", comparator=comparator, verdicts=verdicts
    )
    reference = [
        json.loads(line)
        for line in (folder / "verdicts" / f"{system}.jsonl").read_text("utf-8").splitlines()
    ]
    ours = [json.loads(line)["outcome"] for line in verdicts.read_text().splitlines()]
    expected = {None: "gold_unusable", 0: "other", 1: "match"}
    assert [o if o in ("match", "gold_unusable") else "other" for o in ours] == [
        expected[r[key]] for r in reference
    ]
    assert (scored.n, scored.scored) == (1034, 972)


@pytest.mark.parametrize(("comparator", "key"), RULES)
def test_the_evaluators_own_example_agrees(comparator: str, key: str, exspin_data: Path) -> None:
    lines = (
        (exspin_data / "predictions" / "verdicts" / "test_suite_example.jsonl")
        .read_text("utf-8")
        .splitlines()
    )
    reference = [json.loads(line) for line in lines]
    folder = exspin_data / "spider" / "database"
    jobs = [
        Job(
            Database.sqlite(row["db_id"], folder / row["db_id"] / f"{row['db_id']}.sqlite"),
            row["gold"],
            row["pred"],
        )
        for row in reference
    ]
    with Executor() as executor:
        judged = executor.judge(jobs, comparator)
    assert [j.outcome is Outcome.MATCH for j in judged] == [bool(row[key]) for row in reference]


def test_a_place_for_verdicts_that_cannot_be_written_is_said_before_the_work(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exspin.feedback.judge", lambda *_, **__: pytest.fail("it worked first"))
    predictions = written(tmp_path, "\n".join(FIVE))
    for place in (tmp_path, predictions / "below", Path("/proc/nowhere/v.jsonl")):
        with pytest.raises(RunError, match="cannot be written"):
            score(split, predictions, verdicts=place)
