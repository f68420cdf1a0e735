"""From a table of questions to a folder that `pairs:` reads; nothing is written where a row is wrong."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
import yaml

from exspin.data import load, roles
from exspin.data.importing import import_pairs
from exspin.errors import DatabaseError, DataError, RunError
from exspin.records import Database
from exspin.sql.schema import Schema, Table

COUNT = 30


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop v2.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1), (2);")
    connection.close()
    return path


def csv_of(rows: list[tuple[str, ...]], delimiter: str = ",") -> str:
    return "".join(
        delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) + "\r\n" for row in rows
    )


ROWS = [(f'How "many" above {n}, at all?', f"SELECT count(*)\nFROM t WHERE x > {n};", "hint, one" if n == 0 else "") for n in range(COUNT)]  # fmt: skip
HEADER = ("Question", "SQL", "evidence")


def table(folder: Path, kind: str) -> Path:
    path = folder / f"table.{kind}"
    if kind == "jsonl":
        rows = [{"question": q, "query": s, "evidence": e} for q, s, e in ROWS]
        path.write_text("\ufeff" + "\r\n\n".join(map(json.dumps, rows)))
    else:
        text = csv_of([HEADER, *ROWS], "\t" if kind == "tsv" else ",")
        path.write_text("\ufeff" + text, newline="")
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_a_table_becomes_a_data_set(shop: Path, tmp_path: Path, kind: str) -> None:
    made = import_pairs(str(shop), table(tmp_path, kind), tmp_path / "own")
    assert made.to_json() == {
        "directory": str(tmp_path / "own"),
        "db_id": "shop v2",
        "questions": 30,
        "splits": {"train": 24, "dev": 3, "test": 3},
        "duplicates": 0,
        "ignored": [],
    }
    spec = f"pairs:{tmp_path / 'own'}"
    splits = [load(spec, name) for name in ("train", "dev", "test")]
    assert {(e.question, e.query, e.evidence) for split in splits for e in split.examples} == {
        (q, s, e) for q, s, e in ROWS
    }
    assert all(split.warnings == () and split.missing == {} for split in splits)
    assert splits[0].databases["shop v2"].path == shop
    assert roles(spec).dev == "dev"


def test_the_same_table_is_divided_the_same_way(shop: Path, tmp_path: Path) -> None:
    import_pairs(str(shop), table(tmp_path, "csv"), tmp_path / "one")
    import_pairs(f"sqlite:///{shop}", table(tmp_path, "jsonl"), tmp_path / "two")
    for name in ("train.jsonl", "dev.jsonl", "test.jsonl", "databases.yaml"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_rows_that_say_the_same_are_left_out_and_counted(shop: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    again = (ROWS[4][0].upper(), "select COUNT(*) from t where x > 4", "")
    path.write_text(csv_of([HEADER, *ROWS, again, ROWS[5]]))
    made = import_pairs(str(shop), path, tmp_path / "own")
    assert (made.duplicates, sum(made.splits.values())) == (2, 30)


def test_columns_nobody_reads_are_named(shop: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(csv_of([("question", "query", "author", "db_id"), *((q, s, "me", "x") for q, s, _ in ROWS)]))  # fmt: skip
    assert import_pairs(str(shop), path, tmp_path / "own").ignored == ("author", "db_id")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("question,query\na,SELECT 1\nb,\n", ":3: 'query' is empty"),
        ("question,query\na,SELECT 1\n\n,SELECT 2\nb,DROP TABLE t\n", ":4: 'question' is empty; fill it in or remove the row (1 more of 3 rows are wrong)"),
        ("question,query\na,DROP TABLE t\n", ":2: 'query' is not one statement that reads (denied, write)"),
        ("question,query\na,SELECT 1; SELECT 2\n", ":2: 'query' is not one statement that reads (not_a_query, several_statements)"),
        ("question,query\na,SELECT x, y FROM t\n", ":2: 3 cells under 2 names"),
        ('question,query\na,"SELECT\n1"\nb,"SELECT 2\n', ":4: "),
        ("frage,sql\na,SELECT 1\n", ":1: the first line must name the columns question and query; question is not among frage, sql"),
        ("question,query,sql\na,SELECT 1,SELECT 2\n", ":2: two fields for 'query'"),
        ("question,query,db_id\na,SELECT 1,x\nb,SELECT 2,y\n", ":3: a second db_id 'y'"),
        ("question,query\n", "holds no rows"),
        ("", "is empty (0 bytes)"),
        ("question,query\na,SELECT 1\nb,SELECT 1\n", "2 rows cannot be divided"),
    ],
)  # fmt: skip
def test_a_table_that_is_wrong_leaves_nothing(
    shop: Path, tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"^[^\n]*$") as error:
        import_pairs(str(shop), path, tmp_path / "own")
    assert says in str(error.value) and str(error.value).startswith(str(path))
    assert not (tmp_path / "own").exists()


def test_other_encodings_and_kinds_are_refused(shop: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"question,query\na,SELECT 1\ncaf\xe9,SELECT 2\n")
    with pytest.raises(DataError, match=r"table\.csv:3: not UTF-8"):
        import_pairs(str(shop), path, tmp_path / "own")
    with pytest.raises(DataError, match=r"unknown kind '\.xlsx'"):
        import_pairs(str(shop), tmp_path / "table.xlsx", tmp_path / "own")
    with pytest.raises(DataError, match="cannot be read"):
        import_pairs(str(shop), tmp_path / "absent.csv", tmp_path / "own")


def test_a_used_directory_is_left_alone(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "train.jsonl").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        import_pairs(str(shop), table(tmp_path, "csv"), tmp_path / "own")
    assert (tmp_path / "own" / "train.jsonl").read_text() == "mine"


def test_a_failure_in_the_middle_leaves_the_place_as_it_was(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RunError("the disk is full")

    monkeypatch.setattr("exspin.data.importing.write_urls", fails)
    with pytest.raises(RunError, match="full"):
        import_pairs(str(shop), table(tmp_path, "csv"), tmp_path / "own")
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://me:secret@host/db", r"holds a password.*write \$NAME"),
        ("mysql://me:a@b@host/db", r"holds a password"),
        ("mysql://me:a/secret@host/db", r"holds a password"),
        ("postgresql+psycopg://me:secret@host/db", r"holds a password"),
        ("mariadb://host/db?user=me&password=secret", r"holds a password"),
        ("mysql://me:$PW-secret@host/db", r"holds a password"),
        ("me:secret@host/db", r"user and password without a scheme"),
        ("oracle://host/db", "unknown scheme"),
        ("postgresql://me:$NOT_SET_HERE@host/db", "NOT_SET_HERE, which is not set"),
    ],
)
def test_a_url_that_cannot_be_kept(tmp_path: Path, url: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as error:
        import_pairs(url, table(tmp_path, "csv"), tmp_path / "own")
    assert "secret" not in str(error.value)
    with pytest.raises(DatabaseError, match="does not exist"):
        import_pairs(str(tmp_path / "absent.db"), table(tmp_path, "csv"), tmp_path / "own")


def test_a_variable_in_the_url_is_written_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "secret")
    asked: list[tuple[str, bool]] = []

    def tables(database: Database, *_: object, allow_privileged: bool, **__: object) -> Schema:
        asked.append((database.url, allow_privileged))
        return Schema("sales db", (Table("t", "", (), ()),), ())

    monkeypatch.setattr("exspin.data.importing.read_schema", tables)
    url = "postgresql://me:$PW@host/sales%20db?sslmode=require"
    made = import_pairs(url, table(tmp_path, "csv"), tmp_path / "own")
    assert made.db_id == "sales db"
    assert yaml.safe_load((tmp_path / "own" / "databases.yaml").read_text()) == {"sales db": url}
    assert asked == [(url.replace("$PW", "secret"), False)]


def test_a_login_that_sees_no_table_is_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = Schema("db", (), ())
    monkeypatch.setattr("exspin.data.importing.read_schema", lambda *_, **__: empty)
    with pytest.raises(DatabaseError, match=r"^postgresql://me@host/db: holds no tables"):
        import_pairs("postgresql://me@host/db", table(tmp_path, "csv"), tmp_path / "own")
    assert not (tmp_path / "own").exists()
