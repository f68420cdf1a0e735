"""Scoring a prediction file: how it is read, what is counted, and agreement with the reference evaluator."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from exspin.data import Split, load
from exspin.errors import ConfigError, DataError, RunError
from exspin.records import Database, Example, Outcome, Verdict
from exspin.scoring import read_predictions, score, summarise
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


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(FIVE),
        "\n".join(FIVE) + "\n",
        "\n".join(FIVE) + "\n\n\n",
        "\ufeff" + "\r\n".join(FIVE) + "\r\n",
        "SELECT 1\tstage\nSELECT 2\tstage\n\nSELECT 4\tstage\nSELECT 5\tstage\n",
        "".join(json.dumps({"sql": sql}) + "\n" for sql in FIVE),
        "".join(json.dumps({"index": i, "prediction": FIVE[i]}) + "\n\n" for i in (4, 2, 0, 1, 3)),
    ],
    ids=[
        "plain",
        "newline at the end",
        "blank lines at the end",
        "windows",
        "db_id",
        "jsonl",
        "jsonl with index",
    ],
)
def test_ways_to_write_five_predictions(text: str, split: Split, tmp_path: Path) -> None:
    assert read_predictions(written(tmp_path, text), split.examples) == FIVE


def test_characters_that_are_no_line_ends_stay(split: Split, tmp_path: Path) -> None:
    lines = [
        "SELECT 'a\u2028b'",
        "SELECT '\x0b'",
        "SELECT\tname FROM\tsinger",
        "SELECT '\udcff'",
        "SELECT 5",
    ]
    assert read_predictions(written(tmp_path, "\n".join(lines)), split.examples) == lines


def test_a_first_prediction_with_a_brace_is_no_jsonl(split: Split, tmp_path: Path) -> None:
    lines = ["{SELECT name}", *FIVE[1:]]
    assert read_predictions(written(tmp_path, "\n".join(lines)), split.examples) == lines


def test_tabs_as_white_space_are_no_databases(split: Split, tmp_path: Path) -> None:
    lines = ["SELECT\tname\tFROM\tsinger"] * 5
    assert read_predictions(written(tmp_path, "\n".join(lines)), split.examples) == lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1\n" * 4, "4 predictions for 5 rows"),
        ("SELECT 1\n" * 6, "6 predictions for 5 rows"),
        ("", "0 predictions for 5 rows"),
        (
            "SELECT 1\tstage\n" * 2 + "\nSELECT 1\tstage\nSELECT 1\tother\n",
            r"predictions.sql:5: the line ends in 'other', but row 5",
        ),
        ('{"sql": "SELECT 1"}\n{"sql": ', r"predictions.sql:2: not JSON"),
        (
            '{"text": "SELECT 1"}\n',
            r"predictions.sql:1: expected an object with the SQL under query or sql",
        ),
        ('{"sql": null}\n', r"predictions.sql:1: expected"),
        ('{"sql": "a"}\n' + "[" * 200_000 + "\n", r"predictions.sql:2: not JSON"),
        (
            '{"sql": "a", "index": 0}\n{"sql": "b", "index": 0}\n',
            r"predictions.sql:2: index 0 .* twice",
        ),
        (
            "".join(f'{{"sql": "a", "index": {i}}}\n' for i in range(1, 6)),
            "no prediction has index 0",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(
    text: str, message: str, split: Split, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message) as error:
        read_predictions(written(tmp_path, text), split.examples)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps(FIVE).encode(), "is one JSON array of 5 items; give one SQL a line"),
        (
            json.dumps([{"sql": sql} for sql in FIVE], indent=1).encode(),
            "is one JSON array of 5 items",
        ),
        (json.dumps(dict(enumerate(FIVE)), indent=4).encode(), "is one JSON object of 5 items"),
        ("\n".join(FIVE).encode("utf-16"), "is UTF-16 or binary, not UTF-8"),
        ("\n".join(FIVE).encode("utf-16-le"), "is UTF-16 or binary, not UTF-8"),
        (b"SQLite format 3\0" + bytes(84), "is UTF-16 or binary"),
        (b"PK\x03\x04" + b"x" * 90, "is a compressed file"),
    ],
    ids=["array", "array of objects", "object", "utf-16", "utf-16 without mark", "db", "zip"],
)
@pytest.mark.parametrize("name", ["predictions.sql", "predictions.json", "predictions.jsonl"])
def test_a_file_of_another_format_is_told_apart_from_a_wrong_count(
    content: bytes, message: str, name: str, split: Split, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: {message}"):
        read_predictions(tmp_path / name, split.examples)


def test_a_missing_file_and_an_unknown_comparator(split: Split, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.sql: cannot be read"):
        score(split, tmp_path / "gone.sql")
    with pytest.raises(ConfigError, match="exact"):
        score(split, written(tmp_path, "SELECT 1\n" * 5), comparator="exact")


SYSTEMS = ("dail_sql_gpt4", "c3_chatgpt", "codes_7b_sft", "codellama_7b_zero_shot")


@pytest.mark.parametrize("system", SYSTEMS)
def test_real_predictions_score_as_the_reference_evaluator_says(
    system: str, exspin_data: Path, tmp_path: Path
) -> None:
    """All 972 judged rows of every system, and the 62 whose database is missing."""
    split = load(f"spider:{exspin_data / 'spider'}", "dev")
    folder = exspin_data / "predictions"
    verdicts = tmp_path / "verdicts.jsonl"
    scored = score(
        split, folder / "spider_dev" / f"{system}.sql", comparator="test-suite", verdicts=verdicts
    )
    reference = [
        json.loads(line)
        for line in (folder / "verdicts" / f"{system}.jsonl").read_text("utf-8").splitlines()
    ]
    ours = [json.loads(line)["outcome"] for line in verdicts.read_text().splitlines()]
    expected = {None: "gold_unusable", 0: "other", 1: "match"}
    assert [o if o in ("match", "gold_unusable") else "other" for o in ours] == [
        expected[r["match"]] for r in reference
    ]
    assert (scored.n, scored.scored) == (1034, 972)


@pytest.mark.parametrize(
    ("comparator", "key"), [("test-suite", "match"), ("test-suite-distinct", "match_keep_distinct")]
)
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
