"""How people speak about one database of the built-in example: typed, and checked against the database itself.

`phrasebooks/NAME.yaml` holds nouns and post-modifiers ("earning more than {v}") by table, column and foreign key; the
question generator composes them. `python -m exspin.data.builtin.phrasebook NAME` prints every problem of one
phrasebook and thirty sample questions with their SQL. Whether a phrase is good English only a reader can tell.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exspin.errors import DataError

HERE = Path(__file__).parent
Words = tuple[str, ...]

# Which placeholders the wordings of each list must hold.
SLOTS = {
    **dict.fromkeys(("is", "not", "after", "before", "year", "more", "less", "exactly"), "v"),
    **dict.fromkeys(("of", "with", "without"), "v"),
    **dict.fromkeys(("where", "parents_where", "with_where"), "p"),
    "between": "ab",
    "both": "vw",
    "at_least": "n",
}


class Kind(StrEnum):
    """What can be asked of a column."""

    NAME = "name"  # names the row, or a part of a name
    CATEGORY = "category"  # few distinct values
    NUMBER = "number"
    DATE = "date"
    TEXT = "text"  # only shown


REQUIRED = {
    Kind.NAME: (),
    Kind.TEXT: (),
    Kind.CATEGORY: ("is",),
    Kind.DATE: ("after", "before", "latest", "earliest"),
    Kind.NUMBER: ("more", "less", "most", "least"),
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def lists(self) -> Iterator[tuple[str, Words]]:
        """Every list of wordings, under its key in the file."""
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, tuple) and all(isinstance(v, str) for v in value):
                yield field.alias or name, value

    def words(self, key: str) -> Words:
        """The wordings under one key of the file, () where the author gave none."""
        return dict(self.lists())[key]


class ColumnWords(_Part):
    """One column that is not a surrogate key."""

    kind: Kind
    say: Words
    unit: str = ""
    sum: bool = False
    is_: Words = Field((), alias="is")
    not_: Words = Field((), alias="not")
    after: Words = ()
    before: Words = ()
    year: Words = ()
    latest: Words = ()
    earliest: Words = ()
    more: Words = ()
    less: Words = ()
    between: Words = ()
    exactly: Words = ()
    most: Words = ()
    least: Words = ()
    like: Words = ()


class NullWords(_Part):
    """A nullable column worth asking about."""

    missing: Words
    present: Words


class TableWords(_Part):
    """One table: what a row is called, and its columns."""

    one: Words
    many: Words
    label: str = ""
    person: bool = False
    columns: dict[str, ColumnWords] = {}
    nulls: dict[str, NullWords] = {}


class Link(_Part):
    """One foreign key, seen from both ends."""

    child: str
    parent: str
    of: Words = ()
    where: Words = ()
    parents_where: Words = ()
    some: Words = ()
    none: Words = ()
    most: Words = ()
    least: Words = ()
    at_least: Words = ()
    count: Words = ()
    child_each: Words = ()

    @property
    def table(self) -> str:
        """The table that holds the key."""
        return self.child.partition(".")[0]

    @property
    def column(self) -> str:
        """The key column."""
        return self.child.partition(".")[2]


class Bridge(_Part):
    """Two tables joined through a link table."""

    from_: str = Field(alias="from")
    via: str
    to: str
    with_: Words = Field((), alias="with")
    without: Words = ()
    both: Words = ()
    with_where: Words = ()


class Phrasebook(_Part):
    """Everything in one file."""

    db_id: str
    about: str
    tables: dict[str, TableWords]
    links: tuple[Link, ...] = ()
    bridges: tuple[Bridge, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read one file; a `DataError` names the file and the first wrong key."""
        try:
            return cls.model_validate(yaml.safe_load(path.read_text("utf-8")))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        except yaml.YAMLError as error:
            raise DataError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {str(e['input'])[:60]!r}"
                for e in error.errors()
            ]
            raise DataError(f"{path}: " + "; ".join(problems)) from error


def build(path: Path) -> sqlite3.Connection:
    """The database of one `.sql` source, in memory. Raises `DataError` when the source does not run."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except sqlite3.Error as error:
        raise DataError(f"{path}: does not run ({error})") from error
    return connection


def primary_key(connection: sqlite3.Connection, table: str) -> Words:
    """The columns of a table's primary key, in key order."""
    rows = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
    return tuple(row[1] for row in sorted(rows, key=lambda row: row[5]) if row[5])


def foreign_keys(connection: sqlite3.Connection, table: str) -> dict[str, tuple[str, str]]:
    """Column of this table → (parent table, parent column)."""
    rows = connection.execute(f'PRAGMA foreign_key_list("{table}")')
    return {row[3]: (row[2], row[4] or primary_key(connection, row[2])[0]) for row in rows}


def problems(book: Phrasebook, connection: sqlite3.Connection) -> Iterator[str]:
    """What contradicts the database or lacks a wording, each as `key: what is wrong`."""
    names = [
        row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    ]
    for row in connection.execute("PRAGMA foreign_key_check"):
        yield f"database: row {row[1]} of {row[0]} points at a missing row of {row[2]}"
    for table in names:
        if table not in book.tables:
            yield f"tables.{table}: missing, the database has this table"
    for table, words in book.tables.items():
        if table not in names:
            yield f"tables.{table}: no such table in the database"
            continue
        yield from _table_problems(f"tables.{table}", table, words, connection)
    keys = {(t, c): parent for t in names for c, parent in foreign_keys(connection, t).items()}
    for n, link in enumerate(book.links):
        yield from _link_problems(f"links[{n}] {link.child}", link, keys)
    spoken = {(link.table, link.column) for link in book.links}
    for table, column in keys:
        if (table, column) not in spoken:
            yield f"links: {table}.{column} -> {keys[table, column][0]} is a foreign key without a link"
    for n, bridge in enumerate(book.bridges):
        where = f"bridges[{n}] {bridge.from_}-{bridge.via}-{bridge.to}"
        parents = [parent for (t, _), (parent, _) in keys.items() if t == bridge.via]
        for end in {bridge.from_, bridge.to}:
            if end not in parents:
                yield f"{where}: {bridge.via!r} has no foreign key to {end!r}"
        yield from _slot_problems(where, bridge)
        named = bridge.to in book.tables and book.tables[bridge.to].label
        if named and not bridge.with_:
            yield f"{where}.with: missing, {bridge.to!r} has a label to put there"


def _table_problems(
    where: str, table: str, words: TableWords, connection: sqlite3.Connection
) -> Iterator[str]:
    info = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
    keys = {*foreign_keys(connection, table)}
    primary = primary_key(connection, table)
    if len(primary) == 1:
        keys |= {*primary}
    columns = {row[1] for row in info}
    if len(words.one) != len(words.many) or not words.one:
        yield f"{where}.one/many: give as many singular as plural nouns, at least one"
    for name in columns - keys - {*words.columns}:
        yield f"{where}.columns.{name}: missing, the database has this column"
    for name, column in words.columns.items():
        here = f"{where}.columns.{name}"
        if name not in columns:
            yield f"{here}: no such column in the database"
            continue
        for key in ("say", *REQUIRED[column.kind]):
            if not column.words(key):
                yield f"{here}.{key}: missing, a {column.kind} column needs it"
        yield from _slot_problems(here, column)
        if column.kind is Kind.DATE:
            bad = connection.execute(
                f'SELECT "{name}" FROM "{table}" WHERE "{name}" IS NOT NULL AND date("{name}") IS NOT "{name}"'
            ).fetchone()
            if bad:
                yield f"{here}: {bad[0]!r} is not a date as YYYY-MM-DD"
        if column.kind is Kind.NUMBER:
            bad = connection.execute(
                f"""SELECT "{name}" FROM "{table}" WHERE typeof("{name}") = 'text'"""
            ).fetchone()
            if bad:
                yield f"{here}: {bad[0]!r} is not a number"
    if words.label:
        if words.label not in words.columns:
            yield f"{where}.label: {words.label!r} is not among the columns of this phrasebook"
        elif words.label in columns:
            query = f'SELECT COUNT(*) - COUNT(DISTINCT "{words.label}") FROM "{table}"'
            if connection.execute(query).fetchone()[0]:
                yield f"{where}.label: {words.label!r} is not unique in {table}"
    for name in words.nulls:
        if name not in columns:
            yield f"{where}.nulls.{name}: no such column in the database"
            continue
        query = f'SELECT COUNT(*), COUNT("{name}") FROM "{table}"'
        total, present = connection.execute(query).fetchone()
        if not 0 < present < total:
            yield f"{where}.nulls.{name}: {present} of {total} rows have a value; nothing to ask"


def _link_problems(
    where: str, link: Link, keys: dict[tuple[str, str], tuple[str, str]]
) -> Iterator[str]:
    parent = keys.get((link.table, link.column))
    if parent is None:
        yield f"{where}: not a foreign key of the database"
    elif parent[0] != link.parent:
        yield f"{where}.parent: the database says {parent[0]!r}, not {link.parent!r}"
    for key in ("count", "child_each", "where", "parents_where"):
        if not link.words(key):
            yield f"{where}.{key}: missing"
    if link.count and not link.count[0].startswith("number of "):
        yield f'{where}.count: the first wording must start with "number of ", got {link.count[0]!r}'
    yield from _slot_problems(where, link)


def _slot_problems(where: str, part: _Part) -> Iterator[str]:
    for key, wordings in part.lists():
        for wording in wordings:
            if wording != wording.strip() or not wording:
                yield f"{where}.{key}: {wording!r} has spaces around it or is empty"
            found = sorted(re.findall(r"{(.*?)}", wording))
            if found != sorted(SLOTS.get(key, "")):
                needed = " and ".join("{" + s + "}" for s in SLOTS.get(key, "")) or "no slot"
                yield f"{where}.{key}: {wording!r} needs {needed}, once"


def load(name: str, folder: Path = HERE) -> tuple[Phrasebook, sqlite3.Connection]:
    """A checked phrasebook and its database in memory. Raises `DataError` naming file and key."""
    path = folder / "phrasebooks" / f"{name}.yaml"
    book = Phrasebook.read(path)
    if book.db_id != name:
        raise DataError(f"{path}: db_id: must be {name!r} like the file, got {book.db_id!r}")
    connection = build(folder / "databases" / f"{name}.sql")
    found = list(problems(book, connection))
    if found:
        raise DataError(
            f"{path}: {found[0]}" + (f" (and {len(found) - 1} more)" * (len(found) > 1))
        )
    return book, connection


def main(names: list[str], write: Callable[[str], Any] = sys.stdout.write) -> int:
    """Print the problems of each phrasebook and, when there are none, thirty sample questions."""
    status = 0
    for name in names:
        try:
            book = Phrasebook.read(HERE / "phrasebooks" / f"{name}.yaml")
            found = list(problems(book, build(HERE / "databases" / f"{name}.sql")))
        except DataError as error:
            found = [str(error)]
        for problem in found:
            write(f"{name}: {problem}\n")
        status = status or int(bool(found))
        if not found:
            from exspin.data.builtin.generate import (
                samples,
            )  # floor above this module's other users

            for question, query in samples(name, 30):
                write(f"{question}\n    {query}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
