"""People's own pairs: rows, databases by URL, what stands in for a missing dev, what is said of repeated questions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from exspin.data import load, roles
from exspin.data.descriptions import Description, described
from exspin.errors import DatabaseError, DataError
from exspin.sql.schema import Column, Schema, Table

ROWS = [
    {"question": f"How many above {n}?", "query": f"SELECT count(*) FROM t WHERE x > {n}"}
    for n in range(20)
]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps({"db_id": "shop", **row}) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty questions to learn from, no dev, one database beside them."""
    connection = sqlite3.connect(tmp_path / "shop.sqlite")
    connection.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1), (2);")
    connection.close()
    write_rows(tmp_path / "train.jsonl", ROWS)
    (tmp_path / "databases.yaml").write_text("# ours\nshop: sqlite:///shop.sqlite\n")
    return tmp_path


# --- rows -----------------------------------------------------------------------------------------------------------


def test_a_line_becomes_an_example(folder: Path) -> None:
    row = {**ROWS[0], "evidence": "above is >", "hardness": "routine", "handwritten": True}
    write_rows(folder / "test.jsonl", [row])
    (example,) = load(f"pairs:{folder}", "test").examples
    assert (example.example_id, example.db_id) == ("pairs/test/0", "shop")
    assert (example.question, example.query) == (row["question"], row["query"])
    assert (example.evidence, example.hardness, example.handwritten) == ("above is >", "routine", True)  # fmt: skip


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"question": "?", "result": [[1]]}, "has 'result' in place of 'query'"),
        ({"question": "?"}, "'query' is missing"),
        ({"question": "?", "query": None}, "'query' is null"),
        ({"question": "", "query": "SELECT 1"}, "'question' is empty"),
        ({**ROWS[0], "db_id": "shopp"}, "is not in"),
        ({**ROWS[0], "db_id": "shopp"}, "did you mean 'shop'?"),
        ({**ROWS[0], "db_id": "a/b"}, "cannot be a folder name"),
        ({**ROWS[0], "db_id": None}, "'db_id' is null"),
        ({**ROWS[0], "evidence": 3}, "'evidence' is 3"),
    ],
)
def test_a_row_that_is_wrong_is_named_by_file_and_line(
    folder: Path, row: dict[str, Any], says: str
) -> None:
    write_rows(folder / "test.jsonl", [ROWS[0], row])
    with pytest.raises(DataError) as error:
        load(f"pairs:{folder}", "test")
    assert str(error.value).startswith(f"{folder / 'test.jsonl'}:2: ")
    assert says in str(error.value)


def test_fields_nobody_reads_are_said(folder: Path) -> None:
    write_rows(folder / "test.jsonl", [{**ROWS[0], "evidense": "x", "index": 0}, ROWS[1]])
    (said,) = [w for w in load(f"pairs:{folder}", "test").warnings if "means" in w]
    assert "field 'evidense' means nothing here and is passed over in 1 rows" in said


# --- splits ---------------------------------------------------------------------------------------------------------


def test_without_dev_a_part_of_train_takes_its_place_and_says_so(folder: Path) -> None:
    spec = f"pairs:{folder}"
    assert (roles(spec).train, roles(spec).dev, roles(spec).tests) == ("fit", "heldout", ())
    fit, heldout = load(spec, "fit"), load(spec, "heldout")
    assert (len(fit.examples), len(heldout.examples)) == (18, 2)
    ids = sorted(e.example_id for e in (*fit.examples, *heldout.examples))
    assert ids == sorted(e.example_id for e in load(spec, "train").examples)
    assert [e.index for e in heldout.examples] == [0, 1]
    assert heldout.warnings == (
        f"{spec} heldout: 2 of 20 questions of train.jsonl are held out to choose rounds, "
        "for want of a dev.jsonl",
    )
    assert load(spec, "heldout") == heldout


def test_with_dev_and_test_they_are_taken(folder: Path) -> None:
    for name in ("dev", "test"):
        write_rows(folder / f"{name}.jsonl", ROWS[:1])
    named = roles(f"pairs:{folder}")
    assert (named.train, named.dev, named.tests) == ("train", "dev", ("test",))


def test_what_is_held_out_shares_no_query_with_the_rest(folder: Path) -> None:
    same = [{"question": f"{n}: how many?", "query": "SELECT count(*) FROM t"} for n in range(6)]
    write_rows(folder / "train.jsonl", [*same, *ROWS])
    fit, heldout = (load(f"pairs:{folder}", name) for name in ("fit", "heldout"))
    assert not {e.query for e in fit.examples} & {e.query for e in heldout.examples}


def test_nothing_can_be_held_out_of_one_query(folder: Path) -> None:
    write_rows(folder / "train.jsonl", [ROWS[0], {**ROWS[0], "question": "Other words?"}])
    with pytest.raises(DataError, match="none can be held out"):
        load(f"pairs:{folder}", "heldout")


def test_questions_that_stand_twice_are_counted_where_they_do_harm(folder: Path) -> None:
    again = {**ROWS[3], "question": " how MANY above  3?"}
    write_rows(folder / "dev.jsonl", [again, {"question": "new?", "query": "SELECT 1"}])
    write_rows(folder / "test.jsonl", [*ROWS[:2], ROWS[0], again])
    spec = f"pairs:{folder}"
    assert load(spec, "train").warnings == ()
    assert load(spec, "dev").warnings == (
        f"{spec} dev: 1 of 2 questions stand in train.jsonl too: a score on them says little",
    )
    said = [w.partition(" test: ")[2] for w in load(spec, "test").warnings]
    assert said == [
        "1 questions stand there more than once",
        "4 of 4 questions stand in train.jsonl too: a score on them says little",
        "1 of 4 questions stand in dev.jsonl too: a score on them says little",
    ]
    joined = load(spec, "train,dev").warnings
    assert f"{spec} train,dev: 1 questions stand in more than one of them" in joined


@pytest.mark.parametrize(
    ("split", "says"), [("dev", r"no dev\.jsonl in it"), ("heldout", r"no train\.jsonl in it")]
)
def test_a_split_that_is_not_there(folder: Path, split: str, says: str) -> None:
    (folder / "train.jsonl").unlink()
    with pytest.raises(DataError, match=says):
        load(f"pairs:{folder}", split)


# --- databases ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["sqlite:///shop.sqlite", "shop.sqlite", "./shop.sqlite", "{}/shop.sqlite", "sqlite:///{}/shop.sqlite", "sqlite:///$PLACE/shop.sqlite", "${{PLACE}}/shop.sqlite"])  # fmt: skip
def test_a_path_is_seen_from_the_folder(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", str(folder))
    (folder / "databases.yaml").write_text(f"shop: {url.format(folder)}\n")
    database = load(f"pairs:{folder}", "train").databases["shop"]
    assert database.path.samefile(folder / "shop.sqlite")


def test_an_odd_path_is_taken_as_it_is(folder: Path) -> None:
    name = "Läden 100%20 ?mode=rw#1.db"
    (folder / "shop.sqlite").rename(folder / name)
    (folder / "databases.yaml").write_text(f'shop: "sqlite:///{name}"\n')
    assert load(f"pairs:{folder}", "train").databases["shop"].path == folder / name


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("shop: oracle://h/d", 1, "unknown scheme 'oracle'; known: sqlite:///FILE, duckdb:///FILE, postgresql://…, mysql://…"),
        ("a: x\n\nshop: sqlite://shop.sqlite", 3, "three slashes"),
        ("shop: sqlite:///", 1, "names no file"),
        ("shop: ':memory:'", 1, "names no file"),
        ("shop:", 1, "has no URL"),
        ("shop: [a]", 1, "expected a db_id and its URL"),
        ("shop: a\nb: c\nshop: d", 3, "stands in line 1 already"),
        ("shop: postgresql://u:$NOT_SET_HERE@h/d", 1, "needs the environment variable NOT_SET_HERE"),
        ("a: x\nshop: 'half", 2, "not YAML"),
        ("a: x\nshop: !!python/object:os.system x\n  y: {", 3, "not YAML"),
    ],
)  # fmt: skip
def test_a_url_that_is_wrong_is_named_by_file_and_line(
    folder: Path, text: str, line: int, says: str
) -> None:
    path = folder / "databases.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"^[^\n]*$") as error:
        load(f"pairs:{folder}", "train")
    assert str(error.value).startswith(f"{path}:{line}: ") and says in str(error.value)


@pytest.mark.parametrize("text", ["", "- shop", "shop"])
def test_a_list_of_databases_that_is_none(folder: Path, text: str) -> None:
    (folder / "databases.yaml").write_text(text)
    with pytest.raises(DataError, match="names no database"):
        load(f"pairs:{folder}", "train")
    (folder / "databases.yaml").unlink()
    with pytest.raises(DataError, match="is missing; give one line for each database"):
        load(f"pairs:{folder}", "train")


def test_a_database_file_is_checked(folder: Path) -> None:
    (folder / "shop.sqlite").write_text("<html>404</html>")
    with pytest.raises(DatabaseError, match=r"web page.*correct the URL in .*yaml:2"):
        load(f"pairs:{folder}", "train")
    (folder / "shop.sqlite").unlink()
    with pytest.raises(DatabaseError, match=r"yaml:2: .*shop\.sqlite does not exist"):
        load(f"pairs:{folder}", "train")


def test_a_file_that_is_no_duckdb_database(folder: Path) -> None:
    (folder / "shop.duckdb").write_bytes((folder / "shop.sqlite").read_bytes())
    (folder / "databases.yaml").write_text("shop: duckdb:///shop.duckdb\n")
    with pytest.raises(DatabaseError, match=r"is an SQLite database; correct the URL in"):
        load(f"pairs:{folder}", "train")
    (folder / "shop.duckdb").write_bytes(b"something else")
    with pytest.raises(DatabaseError, match=r"is not a DuckDB database; correct the URL in"):
        load(f"pairs:{folder}", "train")


def test_other_engines_are_handed_on_with_their_password_filled_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "p@ss/w:rd")
    (folder / "my.duckdb").write_bytes(bytes(8) + b"DUCK")
    write_rows(
        folder / "train.jsonl", [{**ROWS[0], "db_id": name} for name in ("a", "b", "c", "d")]
    )
    (folder / "databases.yaml").write_text(
        "a: postgresql://me:$PW@host/db?sslmode=require\nb: MySQL://me:${PW}@host:3306/db\nc: duckdb:///my.duckdb\n"
        "d: mysql+pymysql://host/db\n"
        "unused: postgresql://$NOT_SET_HERE\n"
    )
    found = load(f"pairs:{folder}", "train").databases
    assert {name: database.url for name, database in found.items()} == {
        "a": "postgresql://me:p%40ss%2Fw%3Ard@host/db?sslmode=require",
        "b": "mysql://me:p%40ss%2Fw%3Ard@host:3306/db",
        "c": f"duckdb:///{folder}/my.duckdb",
        "d": "mysql+pymysql://host/db",
    }


def test_a_message_never_shows_a_password(folder: Path) -> None:
    write_rows(folder / "train.jsonl", [ROWS[0]])
    for text in ("shop: oracle://me:secret@h/d", "shop: 'postgresql://me:secret@h/d", "shop: postgresql://me:secret@$NOT_SET_HERE", "shop: me:secret@h/d"):  # fmt: skip
        (folder / "databases.yaml").write_text(text)
        with pytest.raises(DataError) as error:
            load(f"pairs:{folder}", "train")
        assert "secret" not in str(error.value)


# --- what an export brings ------------------------------------------------------------------------------------------


def test_a_database_that_is_said_not_to_be_there_is_missing(folder: Path) -> None:
    write_rows(folder / "test.jsonl", [ROWS[0], {**ROWS[1], "db_id": "lost"}])
    (folder / "databases.yaml").write_text("shop: shop.sqlite\nlost: null\n")
    test = load(f"pairs:{folder}", "test")
    assert (set(test.databases), test.missing, len(test.examples)) == ({"shop"}, {"lost": 1}, 2)
    (folder / "databases.yaml").write_text("shop: shop.sqlite\nlost:\n")
    with pytest.raises(DataError, match=r"yaml:2: db_id 'lost' has no URL; write null"):
        load(f"pairs:{folder}", "test")


def test_a_file_of_another_name_is_a_split(folder: Path) -> None:
    write_rows(folder / "hard.jsonl", ROWS[:3])
    write_rows(folder / "heldout.jsonl", ROWS[3:4])
    assert [e.example_id for e in load(f"pairs:{folder}", "hard").examples][2] == "pairs/hard/2"
    assert [e.example_id for e in load(f"pairs:{folder}", "heldout").examples] == [
        "pairs/heldout/0"
    ]
    for name in ("harder", "../hard", ""):
        with pytest.raises(DataError, match="unknown split"):
            load(f"pairs:{folder}", name)


def test_descriptions_beside_the_questions(folder: Path) -> None:
    about = folder / "descriptions" / "shop"
    about.mkdir(parents=True)
    text = "original_column_name,column_description,value_description\nX,how many,0: none\nz,?,\n"
    (about / "T.csv").write_text(text)
    train = load(f"pairs:{folder}", "train")
    assert train.descriptions == {"shop": {("t", "x"): Description("how many", "0: none", "")}}
    (said,) = [line for line in train.warnings if "name no column" in line]
    assert said.startswith(f"pairs:{folder} train: 1 rows") and "T.csv:3 ('z')" in said


def test_descriptions_of_a_server_wait_for_its_schema(folder: Path) -> None:
    (folder / "databases.yaml").write_text("shop: postgresql://me@host.invalid/db")
    about = folder / "descriptions" / "shop"
    about.mkdir(parents=True)
    (about / "Item.csv").write_text("original_column_name,column_description\nPrice,in cents\n")
    found = load(f"pairs:{folder}", "train").descriptions["shop"]
    column = Column("PRICE", "int", "", False, True, ())
    schema = Schema("shop", (Table("Item", "", (column,), ()),), ())
    assert described(schema, found).tables[0].columns[0].comment == "in cents"
