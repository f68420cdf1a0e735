"""What a database looks like: tables, columns, types, keys, comments and a few values.

Of SQLite, here; DuckDB and servers have modules beside this one. Everything comes from the file itself, read-only: names and keys from SQLite's pragmas, comments from the CREATE TABLE
text that SQLite keeps, values from the first rows of each table. The reader is bounded in rows, work and length, since
a schema may be hostile (views that double thirty times, a cell of a gigabyte). Views are listed, never sampled, and
left out where they stand for too many others. Virtual generated columns are not sampled, since computing a value may
never end; nor are virtual tables, because their code is not SQLite's own.
"""

from __future__ import annotations

import math
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from exspin.errors import DatabaseError
from exspin.ledger import digest_json
from exspin.records import Database
from exspin.sql.tokens import significant
from exspin.urls import SERVERS

SAMPLED_ROWS = 1000  # values are looked for in so many rows from the start of a table
SAMPLE_LENGTH = 25
COMMENT_LENGTH = 80
WORK_LIMIT = (
    20_000_000  # virtual-machine instructions for one table; a full sample takes about 50,000
)
CELL_LIMIT = (
    50_000_000  # bytes; a longer row is an error inside SQLite, and its table shows no values
)

VIEW_LIMIT = 200  # selects that one view may stand for
ALL_VIEWS_LIMIT = 10_000  # selects that all views of a schema may stand for


@dataclass(frozen=True)
class Column:
    name: str
    type: str  # as declared; "" where the table declares none
    comment: str
    primary_key: bool
    nullable: bool
    samples: tuple[
        str, ...
    ]  # distinct, in row order, one line each; never NULL, a blob or empty text
    values: str = ""  # what its values mean, from documents beside the database


@dataclass(frozen=True)
class Table:
    name: str
    comment: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]  # in key order, which need not be column order
    view: bool = False


@dataclass(frozen=True)
class ForeignKey:
    """One column that refers to another; a composite key is several of these."""

    child_table: str
    child_column: str
    parent_table: str
    parent_column: str


@dataclass(frozen=True)
class Schema:
    db_id: str
    tables: tuple[Table, ...]  # in the order they were created
    foreign_keys: tuple[ForeignKey, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything a prompt can show."""
        return digest_json(asdict(self))


def read_schema(
    database: Database, sample_values: int = 2, *, allow_privileged: bool = False
) -> Schema:
    """Read a database's schema with up to `sample_values` values a column.

    Of a server it is the schema that names without one mean. Raises `DatabaseError` when the database cannot be opened or
    its schema cannot be read, or where a server's login may write (`allow_privileged` goes on with a warning), and
    `MissingExtra` where a driver is not installed.
    """
    if database.kind == "duckdb":
        from exspin.sql.duckdb_schema import read_duckdb_schema  # an extra

        return read_duckdb_schema(database, sample_values)
    if database.kind in SERVERS:
        from exspin.sql.server_schema import read_server_schema  # an extra

        return read_server_schema(database, sample_values, allow_privileged)
    try:
        with closing(open_read_only(database.path)) as connection:
            tables = tuple(_read_tables(connection, sample_values))
            return Schema(database.db_id, tables, tuple(_read_foreign_keys(connection, tables)))
    except sqlite3.Error as error:
        raise DatabaseError(f"{database.path}: the schema cannot be read ({error})") from error


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open an SQLite file so that neither it nor its folder can change, and odd text cannot stop us.

    `immutable` keeps SQLite from making `-wal` and `-shm` files beside a database in WAL mode.
    """
    absolute = "/" + str(path.absolute()).lstrip("/")  # two slashes would name a host
    uri = f"file://{quote(os.fsencode(absolute))}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.text_factory = _decode
    connection.execute("PRAGMA query_only = 1")
    connection.execute("PRAGMA trusted_schema = 0")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, CELL_LIMIT)
    return connection


def unfinished_log(path: Path) -> Path | None:
    """The log beside an SQLite file with changes that are not in the file yet, which an immutable connection does not see."""
    logs = (path.with_name(path.name + suffix) for suffix in ("-wal", "-journal"))
    return next((log for log in logs if log.exists() and log.stat().st_size), None)


def one_line(text: str, limit: int | None = None) -> str:
    """Text on one line without control characters; past `limit` characters it is cut and ends in "..."."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if limit is None or len(line) <= limit:
        return line
    return line[: limit - 3].rstrip() + "..."


def quote_name(name: str) -> str:
    """A table or column name as SQL spells it: quoted only where SQLite needs it."""
    if _PLAIN_NAME.fullmatch(name) and name.upper() not in RESERVED:
        return name
    return always_quoted(name)


_PLAIN_NAME = re.compile(r"[A-Za-z_\u0080-\U0010ffff][\w$\u0080-\U0010ffff]*")

# Words that SQLite cannot, or cannot everywhere, read as a name (https://sqlite.org/lang_keywords.html lists more;
# the rest fall back to names). TRUE, FALSE and CURRENT_* parse, but as values.
_RESERVED_WORDS = """
    ADD ALL ALTER AND AS AUTOINCREMENT BETWEEN CASE CAST CHECK COLLATE COMMIT CONSTRAINT CREATE CROSS CURRENT_DATE
    CURRENT_TIME CURRENT_TIMESTAMP DEFAULT DEFERRABLE DELETE DISTINCT DROP ELSE ESCAPE EXCEPT EXISTS FALSE FILTER
    FOREIGN FROM FULL GROUP HAVING IF IN INDEX INDEXED INNER INSERT INTERSECT INTO IS ISNULL JOIN LEFT LIMIT NATURAL
    NOT NOTHING NOTNULL NULL ON OR ORDER OUTER OVER PRIMARY RAISE REFERENCES RETURNING RIGHT SELECT SET TABLE THEN TO
    TRANSACTION TRUE UNION UNIQUE UPDATE USING VALUES WHEN WHERE WINDOW WITH
"""
RESERVED = frozenset(_RESERVED_WORDS.split())


def _decode(raw: bytes) -> str:
    """Real databases hold text in other encodings; what is not UTF-8 is left out."""
    return raw.decode("utf-8", "ignore")


def _read_tables(connection: sqlite3.Connection, sample_values: int) -> Iterator[Table]:
    listed = connection.execute(
        "SELECT name, type, sql FROM sqlite_master WHERE type IN ('table', 'view') "
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid"
    ).fetchall()
    views = _Views((name, ddl or "") for name, kind, ddl in listed if kind == "view")
    unaffordable = {
        name for name, kind, _ in listed if kind == "view" and not views.affordable(name)
    }
    # Shadow tables hold the index of a full-text table. Before SQLite 3.37 the pragma gives no rows, and it writes out
    # all views, so where that could take for ever shadow tables are listed.
    table_list = [] if unaffordable else connection.execute("PRAGMA table_list").fetchall()
    shadows = {row[1] for row in table_list if row[2] == "shadow"}
    for name, kind, ddl in listed:
        if name in shadows or name in unaffordable:
            continue
        try:
            # (cid, name, type, notnull, default, pk, hidden); hidden 1 is a virtual table's inner column, 2 a
            # generated column that is computed whenever it is read
            rows = [
                row
                for row in connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,))
                if row[6] != 1
            ]
        except sqlite3.OperationalError:
            continue  # a view on a table that is gone, a module that is not there: no query can use it either
        if not rows:  # the name is not UTF-8
            continue
        comment, column_comments = read_comments(ddl or "")
        virtual = kind == "table" and (ddl or "").upper().startswith("CREATE VIRTUAL")
        samples = (
            _sample(connection, name, [row[1] for row in rows if row[6] != 2], sample_values)
            if kind == "table" and not virtual
            else {}
        )
        yield Table(
            name=name,
            comment=comment,
            columns=tuple(
                Column(
                    name=row[1],
                    type=row[2] or "",
                    comment=column_comments.get(row[1].lower(), ""),
                    primary_key=row[5] > 0,
                    nullable=not row[3] and not row[5],
                    samples=tuple(samples.get(row[1], ())),
                )
                for row in rows
            ),
            primary_key=tuple(row[1] for row in sorted(rows, key=lambda row: row[5]) if row[5] > 0),
            view=kind == "view",
        )


class _Views:
    """How many selects a view comes to when SQLite puts in the views and table expressions it names.

    SQLite writes them all out before it can name a column, with nothing that would stop it. The count is an upper
    bound, from the words of the definitions alone.
    """

    def __init__(self, definitions: Iterable[tuple[str, str]]) -> None:
        self._texts: dict[str, str] = {}
        self._counts: dict[str, float] = {}
        self._left = ALL_VIEWS_LIMIT
        for name, ddl in definitions:
            if name.lower() in self._texts:  # two names that differ in bytes we cannot read
                self._counts[name.lower()] = math.inf
            self._texts[name.lower()] = ddl

    def affordable(self, name: str) -> bool:
        """Can this view's columns be asked for? Takes its cost from what is left."""
        count = self._count(name.lower())
        if count > min(VIEW_LIMIT, self._left):
            return False
        self._left -= int(count)
        return True

    def _count(self, name: str, depth: int = 0) -> float:
        if depth > VIEW_LIMIT:
            return math.inf
        if name not in self._counts:
            self._counts[name] = math.inf  # while it is counted: a circle has no columns
            named, expressions = _named(self._texts[name])
            own = math.prod(max(1, named[expression] - 1) for expression in expressions)
            others = [
                times * self._count(other, depth + 1)
                for other, times in named.items()
                if other in self._texts and other != name
            ]
            self._counts[name] = own * (1 + sum(others))
        return self._counts[name]


def _named(ddl: str) -> tuple[Counter[str], set[str]]:
    """How often each name is used in a definition, but not before a dot; and the table expressions among them."""
    named: Counter[str] = Counter()
    expressions: set[str] = set()
    name = ""  # the last one
    before: list[str] = []  # the name before each open parenthesis
    after_as = False  # between AS and what it introduces
    for token in significant(ddl):
        if token.kind in ("word", "name", "string"):
            if token.keyword == "AS":
                after_as = True
            elif not (after_as and token.keyword in ("NOT", "MATERIALIZED")):
                name = (token.text if token.kind == "word" else _unquoted(token.text)).lower()
                named[name] += 1
                after_as = False
        elif token.text == "(":
            if after_as:
                expressions.add(name)
            before.append(name)
            after_as = False
        elif token.text == ")":
            name = before.pop() if before else ""
        elif token.text == ".":
            named[name] -= 1
    return named, expressions


def _sample(
    connection: sqlite3.Connection, table: str, columns: list[str], wanted: int
) -> dict[str, list[str]]:
    """The first distinct values of every column, in one pass over the start of the table."""
    if wanted == 0:
        return {}
    # NOT INDEXED: rowid order, whatever indexes there are. Long text is cut and blobs dropped before they reach us.
    cells = ", ".join(
        f"CASE typeof({name}) WHEN 'blob' THEN NULL WHEN 'text' THEN substr({name}, 1, 200) ELSE {name} END"
        for name in map(always_quoted, columns)
    )
    query = f"SELECT {cells} FROM main.{always_quoted(table)} NOT INDEXED LIMIT {SAMPLED_ROWS}"
    budget = iter(range(WORK_LIMIT // 10_000))
    connection.set_progress_handler(lambda: next(budget, None) is None, 10_000)
    try:
        return first_values(columns, connection.execute(query), wanted)
    except sqlite3.Error:
        return {}  # past the limits, or a damaged page: the table is listed without values
    finally:
        connection.set_progress_handler(None, 0)


def first_values(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], wanted: int
) -> dict[str, list[str]]:
    """The first distinct values of every column, each on one line."""
    found: dict[str, list[str]] = {name: [] for name in columns}
    unfilled = set(columns)
    for row in rows:
        for name, value in zip(columns, row, strict=True):
            if value is None or name not in unfilled:
                continue
            shown = one_line(str(value), SAMPLE_LENGTH)
            if shown and shown not in found[name]:
                found[name].append(shown)
                if len(found[name]) == wanted:
                    unfilled.discard(name)
        if not unfilled:
            break
    return found


def always_quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _read_foreign_keys(
    connection: sqlite3.Connection, tables: tuple[Table, ...]
) -> Iterator[ForeignKey]:
    """Foreign keys in the order they were declared, spelled as the tables spell their names."""
    by_name = {table.name.lower(): table for table in tables}
    seen: set[ForeignKey] = set()
    for table in tables:
        if table.view:
            continue
        rows = connection.execute(
            'SELECT "table", seq, "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id DESC, seq',
            (table.name,),
        ).fetchall()
        for parent_name, position, child_column, parent_column in rows:
            parent = by_name.get(parent_name.lower())
            if parent is None:
                continue
            if parent_column is None and position < len(parent.primary_key):
                parent_column = parent.primary_key[position]
            spelled_child = spelled(table, child_column)
            spelled_parent = spelled(parent, parent_column)
            if spelled_child is None or spelled_parent is None:
                continue
            key = ForeignKey(table.name, spelled_child, parent.name, spelled_parent)
            if key not in seen:
                seen.add(key)
                yield key


def spelled(table: Table, column: str | None) -> str | None:
    """A column's name as its table writes it; None where there is no such column."""
    wanted = (column or "").lower()
    return next((c.name for c in table.columns if c.name.lower() == wanted), None)


_DDL_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<quoted>'(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\])
    |(?P<word>[\w$]+)
    |(?P<mark>[(),])
    |(?P<newline>\n)""",
    re.VERBOSE | re.DOTALL,
)


def read_comments(ddl: str) -> tuple[str, dict[str, str]]:
    """The comments of a CREATE TABLE text: the table's, and by lower-case column name the columns'.

    A column's comment stands at the end of its line, before or after the comma. The table's stands before the opening
    parenthesis, behind it on the same line, or behind the closing one. A comment on a line of its own inside the list
    belongs to nobody: there it is as often a statement somebody switched off.
    """
    table_comment = ""
    columns: dict[str, str] = {}
    depth = 0
    current = ""  # first word of the definition this line's comment belongs to
    begins = False  # the next word starts a definition
    fresh_line = False  # nothing but space since the last newline
    for token in _DDL_TOKEN.finditer(ddl):
        text = token.group()
        if token["newline"]:
            fresh_line = True
        elif token["comment"]:
            comment = one_line(
                text.removeprefix("--").removeprefix("/*").removesuffix("*/"), COMMENT_LENGTH
            )
            if depth == 0 or (not current and not fresh_line):
                table_comment = table_comment or comment
            elif not fresh_line and comment:
                columns.setdefault(current, comment)
        else:
            fresh_line = False
            if token["mark"]:
                depth += {"(": 1, ")": -1, ",": 0}[text]
                begins = depth == 1 and text != ")" and (text == "," or not current)
            elif begins:
                current = (_unquoted(text) if token["quoted"] else text).lower()
                begins = False
    return table_comment, columns


def _unquoted(text: str) -> str:
    mark = "]" if text[0] == "[" else text[0]
    return text[1:-1].replace(mark * 2, mark)
