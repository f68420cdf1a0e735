"""Reading prediction files: every form says the same five predictions, and what does not fit is refused with its line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from exspin.errors import DataError
from exspin.predictions import read_file, read_predictions
from exspin.records import Example

DATABASES = ["stage", "stage", "gone", "stage", "stage"]
EXAMPLES = tuple(Example(f"x/dev/{i}", i, db_id, "?", "1") for i, db_id in enumerate(DATABASES))


def written(tmp_path: Path, text: str, name: str = "predictions.sql") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


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
def test_ways_to_write_five_predictions(text: str, tmp_path: Path) -> None:
    assert read_predictions(written(tmp_path, text), EXAMPLES) == FIVE


def test_characters_that_are_no_line_ends_stay(tmp_path: Path) -> None:
    lines = [
        "SELECT 'a\u2028b'",
        "SELECT '\x0b'",
        "SELECT\tname FROM\tsinger",
        "SELECT '\udcff'",
        "SELECT 5",
    ]
    assert read_predictions(written(tmp_path, "\n".join(lines)), EXAMPLES) == lines


def test_a_first_prediction_with_a_brace_is_no_jsonl(tmp_path: Path) -> None:
    lines = ["{SELECT name}", *FIVE[1:]]
    assert read_predictions(written(tmp_path, "\n".join(lines)), EXAMPLES) == lines


def test_tabs_as_white_space_are_no_databases(tmp_path: Path) -> None:
    lines = ["SELECT\tname\tFROM\tsinger"] * 5
    assert read_predictions(written(tmp_path, "\n".join(lines)), EXAMPLES) == lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1\n" * 4, "4 predictions for 5 rows"),
        (
            "SELECT 1\n" * 6,
            r"6 predictions for 5 rows .* \(a statement on several lines goes on one\)",
        ),
        ("SELECT 1\n\n" * 4, r"7 predictions for 5 rows .* \(3 of its lines are blank"),
        ("SELECT 1\n", "1 prediction for 5 rows of the split; give one a row"),
        ("", "0 predictions for 5 rows"),
        (
            "SELECT 1\tstage\n" * 2 + "\nSELECT 1\tstage\nSELECT 1\tother\n",
            r"predictions.sql:5: the line ends in 'other', but row 5",
        ),
        (
            "SELECT 1\tstage\n" * 2 + "\nSELECT 1\nSELECT 1\tstage\n",
            r"predictions.sql:4: no tab and db_id in the line, though other lines have them",
        ),
        ('{"sql": "SELECT 1"}\n"SELECT 1"\n', r"predictions.sql:2: str, not an object in braces"),
        (
            '{"0": "SELECT 1", "1": "SELECT 2"}',
            r"predictions.sql:1: answers by their number in one",
        ),
        ('{"sql": "SELECT 1"}\n{"sql": ', r"predictions.sql:2: not JSON"),
        (
            '{"text": "SELECT 1"}\n',
            r"predictions.sql:1: expected the SQL under query, sql, .* found 'text'",
        ),
        ('{"sql": 7}\n', r"predictions.sql:1: 'sql' is 7; expected"),
        (
            '{"sql": "1"}\n[1]\n',
            r"predictions.sql:2: list, not an object in braces; expected the SQL under",
        ),
        (
            '{"query": "SELECT 1", "prediction": "SELECT 2"}\n',
            r"predictions.sql:1: 'query' and 'prediction' could hold the prediction; say which with --sql-column",
        ),
        (
            "".join(json.dumps({"sql": "a", "db_id": d}) + "\n" for d in ["stage"] * 5),
            r"predictions.sql:3: db_id is 'stage', but row 3 of the split is about database 'gone'",
        ),
        (
            '{"sql": "a", "index": true}\n' * 5,
            r"predictions.sql:1: index True is not a number",
        ),
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
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message) as error:
        read_predictions(written(tmp_path, text), EXAMPLES)
    assert "\n" not in str(error.value)


def table(header: list[str], rows: list[list[object]], delimiter: str = ",") -> str:
    """A CSV as the csv module writes it: fields with commas, quotes or line ends are quoted."""
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()


ODD = ["SELECT 'a,b'", 'SELECT "x""y"', "", "SELECT 1,\n\t2", "SELECT\t5"]


@pytest.mark.parametrize("name", ["query", "sql", "prediction", "predicted_sql", "SQL"])
@pytest.mark.parametrize("form", ["csv", "semicolons", "tsv", "windows", "bom", "jsonl"])
def test_named_fields_hold_any_text(name: str, form: str, tmp_path: Path) -> None:
    """Commas, quotes, tabs and line ends inside a field are the prediction's, in every form of table."""
    header, rows = ["id", name, "note"], [[i, sql, "x"] for i, sql in enumerate(ODD)]
    text, suffix = {
        "csv": (table(header, rows), "csv"),
        "semicolons": (table(header, rows, ";"), "csv"),
        "tsv": (table(header, rows, "\t"), "tsv"),
        "windows": (table(header, rows).replace('x\n', 'x\r\n').replace("note\n", "note\r\n"), "CSV"),
        "bom": ("\ufeff" + table(header, rows), "csv"),
        "jsonl": ("\n".join(json.dumps(dict(zip(header, row, strict=True))) for row in rows), "jsonl"),
    }[form]  # fmt: skip
    found = read_file(written(tmp_path, text, f"predictions.{suffix}"), EXAMPLES)
    assert found.texts == ODD
    assert not found.one_a_line


@pytest.mark.parametrize("nothing", ["", " ", "NaN", "nan", "NULL", "None", "<NA>"])
def test_a_field_without_a_value_is_an_empty_prediction(nothing: str, tmp_path: Path) -> None:
    text = table(["sql", "n"], [[nothing if i == 2 else sql, i] for i, sql in enumerate(FIVE)])
    assert read_predictions(written(tmp_path, text, "p.csv"), EXAMPLES) == FIVE


def test_json_without_a_value_is_an_empty_prediction(tmp_path: Path) -> None:
    values = ['"SELECT 1"', "null", "NaN", '""', '"nan"']
    text = "".join(f'{{"sql": {value}}}\n' for value in values)
    # text in JSON is text: only a table cannot tell a missing value from the word
    assert read_predictions(written(tmp_path, text), EXAMPLES) == ["SELECT 1", "", "", "", "nan"]


def test_a_table_of_one_column(tmp_path: Path) -> None:
    text = "sql\nSELECT 1\nSELECT 2\n\nSELECT 4\nSELECT 5\n\n\n"
    assert read_predictions(written(tmp_path, text, "p.csv"), EXAMPLES) == FIVE


def test_blank_lines_between_rows_of_a_table_are_no_predictions(tmp_path: Path) -> None:
    text = "sql,n\r\nSELECT 1,1\r\n\r\nSELECT 2,2\r\n\r\n,3\r\nSELECT 4,4\r\nSELECT 5,5\r\n\r\n"
    assert read_predictions(written(tmp_path, text, "p.csv"), EXAMPLES) == FIVE


def test_index_and_db_id_put_a_table_in_order(tmp_path: Path) -> None:
    """pandas writes whole numbers of a column with a gap as `3.0`."""
    rows = [[f"{i}.0", DATABASES[i], FIVE[i]] for i in (4, 2, 0, 1, 3)]
    text = table(["index", "db_id", "sql"], rows)
    assert read_predictions(written(tmp_path, text, "p.csv"), EXAMPLES) == FIVE


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_column_is_chosen_by_name(suffix: str, tmp_path: Path) -> None:
    """Beside the gold in `query` the prediction would be ambiguous, and taking gold would be a perfect score."""
    header, rows = ["query", "Answer 1"], [["gold", sql] for sql in FIVE]
    text = {
        "csv": table(header, rows),
        "jsonl": "\n".join(json.dumps(dict(zip(header, row, strict=True))) for row in rows),
    }[suffix]
    path = written(tmp_path, text, f"p.{suffix}")
    assert read_predictions(path, EXAMPLES, "Answer 1") == FIVE
    assert read_predictions(path, EXAMPLES) == ["gold"] * 5
    with pytest.raises(DataError, match=rf"p.{suffix}:1: no field 'answer'; the row has 'query'"):
        read_predictions(path, EXAMPLES, "answer")


def test_a_long_field_is_read_whole(tmp_path: Path) -> None:
    """The csv module stops at 128 KiB unless told otherwise, and is left as it was."""
    long = "SELECT '" + "x" * 200_000 + "'"
    before = csv.field_size_limit()
    text = table(["sql", "n"], [[long, 1]])
    assert read_predictions(written(tmp_path, text, "p.csv"), EXAMPLES[:1]) == [long]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"p.csv:1: expected the SQL under query, sql, prediction or predicted_sql"),
        ("a,b\n1,2\n", r"p.csv:1: expected the SQL under .*; found 'a', 'b'"),
        ("sql,prediction\n1,2\n", r"p.csv:1: 'sql' and 'prediction' could hold"),
        ("sql,sql\n1,2\n", r"p.csv:1: two columns are called 'sql'"),
        ("sql,n\nSELECT 1,2\nSELECT 1, 2, 3\n", r"p.csv:3: 3 fields where the header has 2; put"),
        ('sql,n\n"SELECT 1\n,2",1,9\n', r"p.csv:2: 3 fields where the header has 2"),
        ('sql,n\n"SELECT 1\n,2",1\nx\n', r"p.csv:4: 1 fields where the header has 2"),
        ('sql,n\n"SELECT 1,2\n', r"p.csv:2: not CSV \(.*\); put fields in quotes"),
        ('sql,n\n"SELECT" 1,2\n', r"p.csv:2: not CSV"),
        ("sql,n\nSELECT 1,2\n", r"p.csv: 1 prediction for 5 rows"),
        ("sql,index\n1,x\n", r"p.csv:2: index 'x' is not a number"),
        ("sql,db_id\n" + "1,stage\n" * 5, r"p.csv:4: db_id is 'stage', but row 3 .* 'gone'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_in_one_line(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message) as error:
        read_predictions(written(tmp_path, text, "p.csv"), EXAMPLES)
    assert "\n" not in str(error.value)


def test_lines_have_no_columns_to_choose(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no columns, so none is 'sql'"):
        read_predictions(written(tmp_path, "\n".join(FIVE)), EXAMPLES, "sql")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            json.dumps(FIVE).encode(),
            r"is one JSON array of 5 items \(`jq -c '\.\[\]'` makes a line of each\); give one SQL a line",
        ),
        (
            json.dumps([{"sql": sql} for sql in FIVE], indent=1).encode(),
            "is one JSON array of 5 items",
        ),
        (json.dumps(dict(enumerate(FIVE)), indent=4).encode(), "is one JSON object of 5 items"),
        ("\n".join(FIVE).encode("utf-16"), "is UTF-16 or binary, not UTF-8 text; save it as UTF-8"),
        ("\n".join(FIVE).encode("utf-16-le"), "is UTF-16 or binary, not UTF-8"),
        (b"SQLite format 3\0" + bytes(84), "is an SQLite database"),
        (b"PK\x03\x04" + b"x" * 90, "is a ZIP archive"),
    ],
    ids=["array", "array of objects", "object", "utf-16", "utf-16 without mark", "db", "zip"],
)
@pytest.mark.parametrize("name", ["p.sql", "p.json", "p.jsonl", "p.csv"])
def test_a_file_of_another_format_is_told_apart_from_a_wrong_count(
    content: bytes, message: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: {message}"):
        read_predictions(tmp_path / name, EXAMPLES)
