"""The only place where prompt text is written.

    table singer (singer_id integer primary key, name text: Joe Sharp | Timbaland, age integer: 52 | 32) -- who sings
    foreign keys: concert.singer_id = singer.singer_id

    evidence: …
    question: How many singers do we have?
    sql:

The schema comes first, so all questions of one database share it and its key-value cache. Names stand exactly as SQL
spells them. What does not fit `max_tokens` is left out in this order, and every step is recorded in `Prompt.trimmed`:

1. what is said of the meaning of values (`Column.values`; only where documents beside a database say it);
2. sample values: one a column, then none;
3. comments;
4. columns that are no key, from the end of the table that is widest at the time;
5. tables, from the end, with the foreign keys they are part of.

A prompt depends on its own question, its database, the configuration and the tokenizer alone, never on which other
questions are rendered with it. To keep the schema equal across questions all the same, it is trimmed to leave room for
a question of ordinary length (see `_room`) and further only for a question that is longer and needs it.
Text from a database is untrusted: it is kept on one line, but can still say anything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from exspin.config import PromptConfig
from exspin.errors import DataError, ModelError
from exspin.ledger import digest_json
from exspin.records import Example, Prompt
from exspin.sql.schema import Column, ForeignKey, Schema, Table, one_line, quote_name

CountTokens = Callable[[str], int]
Wrap = Callable[[str], str]


def render(
    example: Example,
    schema: Schema,
    *,
    config: PromptConfig,
    count_tokens: CountTokens,
    wrap: Wrap | None = None,
    special: Sequence[str] = (),
) -> Prompt:
    """The prompt of one question; the same as `render_all` gives it.

    `count_tokens` counts the tokens of a text without special tokens added. `wrap` puts a chat template around the
    user's message. `special` are the texts that the tokenizer reads as special tokens: where the database or the question
    says one, a space breaks it. Raises `DataError` when not even the question fits, `ModelError` when the template changes the text.
    """
    return _Renderer(schema, config, count_tokens, wrap, special).render(example)


def render_all(
    examples: Iterable[Example],
    schemas: Mapping[str, Schema],
    config: PromptConfig,
    count_tokens: CountTokens,
    wrap: Wrap | None = None,
    special: Sequence[str] = (),
) -> list[Prompt]:
    """The prompts of many questions, in their order; `schemas` by db_id. Schema text is made and counted once."""
    renderers: dict[str, _Renderer] = {}
    prompts = []
    for example in examples:
        if example.db_id not in renderers:
            schema = schemas[example.db_id]
            renderers[example.db_id] = _Renderer(schema, config, count_tokens, wrap, special)
        prompts.append(renderers[example.db_id].render(example))
    return prompts


@dataclass(frozen=True)
class TrimReport:
    """How many prompts lost what."""

    prompts: int
    trimmed: int
    steps: Mapping[
        str, int
    ]  # "values", "samples", "comments", "columns", "tables" → prompts that lost some

    def __str__(self) -> str:
        if not self.trimmed:
            return f"all {self.prompts} prompts fit"
        parts = ", ".join(f"{kind} in {count}" for kind, count in self.steps.items())
        return f"{self.trimmed} of {self.prompts} prompts trimmed: {parts}"


def trim_report(prompts: Sequence[Prompt]) -> TrimReport:
    """Count what trimming left out."""
    kinds = [{step.partition(":")[0] for step in prompt.trimmed} for prompt in prompts]
    counts = Counter(kind for found in kinds for kind in found)
    return TrimReport(
        prompts=len(prompts),
        trimmed=sum(map(bool, kinds)),
        steps={kind: counts[kind] for kind in _KINDS if counts[kind]},
    )


def signature() -> str:
    """A name for the template that changes whenever any text or trimming changes, for the run's ledger."""
    prompts = [
        render(
            _SPECIMEN_EXAMPLE,
            _SPECIMEN_SCHEMA,
            config=PromptConfig(max_tokens=characters, sample_values=2, template="plain"),
            count_tokens=len,
        )
        for characters in (1000, 300, 200, 150, 110, 90)
    ]
    return "prompt-" + digest_json([prompt.to_json() for prompt in prompts])[:12]


# --- the text -----------------------------------------------------------------------------------------------------


def _table_line(table: Table, columns: Sequence[Column], keys: frozenset[str], view: _View) -> str:
    items = [_column_text(column, table, keys, view) for column in columns]
    if len(table.primary_key) > 1:
        items.append(f"primary key ({', '.join(map(_name, table.primary_key))})")
    kind = "view" if table.view else "table"
    listed = f" ({', '.join(items)})" if items else ""
    comment = f" -- {table.comment}" if view.comments and table.comment else ""
    return f"{kind} {_name(table.name)}{listed}{comment}"


def _column_text(column: Column, table: Table, keys: frozenset[str], view: _View) -> str:
    text = _name(column.name)
    # varchar(20) says no more than varchar
    if type_name := one_line(_LENGTH.sub("", column.type).lower(), 40):
        text += f" {type_name}"
    if table.primary_key == (column.name,):
        text += " primary key"
    notes = [column.comment] if view.comments and column.comment else []
    if view.values and column.values:
        notes.append(f"values: {column.values}")
    if notes:
        text += f" ({'; '.join(notes)})"
    samples = column.samples[: view.samples]
    # the numbers of a key are arbitrary and cost tokens
    if samples and not (column.name in keys and all(map(_NUMBER.fullmatch, samples))):
        text += f": {' | '.join(samples)}"
    return text


def _schema_block(view: _View) -> str:
    lines = [
        _table_line(table, columns, view.keys[table.name], view) for table, columns in view.tables
    ]
    if view.foreign_keys:
        pairs = (
            f"{_name(key.child_table)}.{_name(key.child_column)}"
            f" = {_name(key.parent_table)}.{_name(key.parent_column)}"
            for key in view.foreign_keys
        )
        lines.append(f"foreign keys: {', '.join(pairs)}")
    return "".join(f"{line}\n" for line in lines) + "\n" if lines else ""


def _question_block(example: Example) -> str:
    evidence = one_line(example.evidence)
    return (f"evidence: {evidence}\n" if evidence else "") + (
        f"question: {one_line(example.question)}\nsql:"
    )


def _name(name: str) -> str:
    return quote_name(_CONTROL.sub(" ", name))


_LENGTH = re.compile(r"\s*\([^)]*\)")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


# --- trimming -----------------------------------------------------------------------------------------------------

_KINDS = ("values", "samples", "comments", "columns", "tables")


@dataclass(frozen=True)
class _Step:
    """One thing to leave out. `kind` is one of `_KINDS`."""

    kind: str
    left: int = 0  # samples: how many stay
    table: str = ""
    column: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "samples":
                return f"samples: {self.left} left"
            case "columns":
                return f"columns: {self.table}.{self.column}"
            case "tables":
                return f"tables: {self.table}"
            case _:
                return f"{self.kind}: all"


@dataclass(frozen=True)
class _View:
    """What of a schema is shown after some steps."""

    values: bool
    samples: int
    comments: bool
    tables: tuple[tuple[Table, tuple[Column, ...]], ...]
    foreign_keys: tuple[ForeignKey, ...]
    keys: Mapping[str, frozenset[str]]  # table → columns that are part of a key


def _key_columns(schema: Schema) -> dict[str, frozenset[str]]:
    keys = {table.name: set(table.primary_key) for table in schema.tables}
    for key in schema.foreign_keys:
        keys[key.child_table].add(key.child_column)
        keys[key.parent_table].add(key.parent_column)
    return {name: frozenset(columns) for name, columns in keys.items()}


def _steps(schema: Schema, samples: int, keys: Mapping[str, frozenset[str]]) -> list[_Step]:
    """Everything that can be left out, in order; after all steps no schema is left."""
    steps = []
    if any(c.values for t in schema.tables for c in t.columns):
        steps.append(_Step("values"))
    shown = max((len(c.samples) for t in schema.tables for c in t.columns), default=0)
    if min(shown, samples) > 1:
        steps.append(_Step("samples", left=1))
    if min(shown, samples) > 0:
        steps.append(_Step("samples", left=0))
    if any(t.comment or any(c.comment for c in t.columns) for t in schema.tables):
        steps.append(_Step("comments"))
    widths = {table.name: len(table.columns) for table in schema.tables}
    spare = {
        table.name: [c.name for c in table.columns if c.name not in keys[table.name]]
        for table in schema.tables
    }
    order = [table.name for table in schema.tables]
    while candidates := [name for name in reversed(order) if spare[name]]:
        widest = max(candidates, key=widths.__getitem__)  # of equally wide ones the last
        steps.append(_Step("columns", table=widest, column=spare[widest].pop()))
        widths[widest] -= 1
    steps.extend(_Step("tables", table=name) for name in reversed(order))
    return steps


def _apply(
    schema: Schema, samples: int, keys: Mapping[str, frozenset[str]], steps: Sequence[_Step]
) -> _View:
    values = comments = True
    gone_columns = set()
    gone_tables = set()
    for step in steps:
        match step.kind:
            case "values":
                values = False
            case "samples":
                samples = step.left
            case "comments":
                comments = False
            case "columns":
                gone_columns.add((step.table, step.column))
            case _:
                gone_tables.add(step.table)
    return _View(
        values=values,
        samples=samples,
        comments=comments,
        tables=tuple(
            (table, tuple(c for c in table.columns if (table.name, c.name) not in gone_columns))
            for table in schema.tables
            if table.name not in gone_tables
        ),
        foreign_keys=tuple(
            key
            for key in schema.foreign_keys
            if key.child_table not in gone_tables and key.parent_table not in gone_tables
        ),
        keys=keys,
    )


def _room(limit: int) -> int:
    """Tokens kept free for a question: an eighth, but 64 where that is less, and never more than half."""
    return min(max(limit // 8, 64), limit // 2)


class _Renderer:
    """Renders the questions of one database. Level n is the schema after the first n steps."""

    def __init__(
        self,
        schema: Schema,
        config: PromptConfig,
        count_tokens: CountTokens,
        wrap: Wrap | None,
        special: Sequence[str],
    ) -> None:
        self._schema = schema
        self._config = config
        self._count = count_tokens
        self._wrap = wrap
        self._special = re.compile("|".join(map(re.escape, special)) or r"(?!)")
        self._keys = _key_columns(schema)
        self._steps = _steps(schema, config.sample_values, self._keys)
        self._labels = tuple(map(str, self._steps))
        self._blocks: dict[int, str] = {}  # schema text by level
        self._lengths: dict[str, int] = {}  # tokens by prefix text
        self._ordinary_level: int | None = None

    def render(self, example: Example) -> Prompt:
        if self._ordinary_level is None:  # one for all questions; the first one lends its frame
            self._ordinary_level = self._first_level(0, lambda n: self._leaves_room(example, n))
        level = self._first_level(self._ordinary_level, lambda n: self._excess(example, n) <= 0)
        if (excess := self._excess(example, level)) > 0:
            limit = self._config.max_tokens
            raise DataError(
                f"{example.example_id}: the question alone takes {limit + excess} tokens, more than "
                f"prompt.max_tokens = {limit}; raise it or shorten the question"
            )
        prefix, rest = self._text(example, level)
        return Prompt(
            example.example_id, example.db_id, prefix + rest, len(prefix), self._labels[:level]
        )

    def _leaves_room(self, example: Example, level: int) -> bool:
        """Whether the schema leaves room for a question of ordinary length."""
        limit = self._config.max_tokens
        return self._prefix_tokens(self._text(example, level)[0]) + _room(limit) <= limit

    def _excess(self, example: Example, level: int) -> int:
        """Tokens beyond the limit. Prefix and rest are counted apart, as they are tokenized apart."""
        prefix, rest = self._text(example, level)
        return self._prefix_tokens(prefix) + self._count(rest) - self._config.max_tokens

    def _first_level(self, start: int, fits: Callable[[int], bool]) -> int:
        """The first level from `start` that fits, else the last one. By bisection: a step shortens the text."""
        if fits(start):
            return start
        low, high = start, len(self._steps)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if fits(middle) else (middle, high)
        return high

    def _text(self, example: Example, level: int) -> tuple[str, str]:
        """The prompt at one level, cut at the end of the schema."""
        if level not in self._blocks:
            steps = self._steps[:level]
            view = _apply(self._schema, self._config.sample_values, self._keys, steps)
            self._blocks[level] = self._plain(_schema_block(view))
        block, question = self._blocks[level], self._plain(_question_block(example))
        if self._wrap is None:
            return block, question
        whole = self._wrap(block + question)
        start = whole.find(block + question)
        if start < 0:
            raise ModelError(
                "the chat template changes the text of the user's message, so prompts cannot share their schema; "
                "set prompt.template: plain"
            )
        end = start + len(block)
        return whole[:end], whole[end:]

    def _plain(self, text: str) -> str:
        """Text in which the names of special tokens are broken by a space."""
        return self._special.sub(lambda name: f"{name[0][0]} {name[0][1:]}", text)

    def _prefix_tokens(self, prefix: str) -> int:
        if prefix not in self._lengths:
            self._lengths[prefix] = self._count(prefix)
        return self._lengths[prefix]


# --- a specimen with every feature, for `signature` ---------------------------------------------------------------


def _specimen_column(
    name: str, type: str, *samples: str, key: bool = False, values: str = ""
) -> Column:
    return Column(name, type, f"about {name}", key, not key, samples, values)


_SPECIMEN_SCHEMA = Schema(
    "specimen",
    (
        Table(
            "group",
            "a keyword",
            (
                _specimen_column("Id", "INTEGER", "1", "2", key=True),
                _specimen_column("full name", "VARCHAR(20)", "Ann", "Bob"),
            ),
            primary_key=("Id",),
        ),
        Table(
            "event",
            "",
            (
                _specimen_column("no", "", "a1", "a2", key=True),
                _specimen_column("group_id", "int", "1", key=True),
                _specimen_column("price", "real", "1.5", "2.0", values="in euro"),
            ),
            primary_key=("no", "group_id"),
        ),
        Table("seen", "", (_specimen_column("day", "date"),), primary_key=(), view=True),
    ),
    (ForeignKey("event", "group_id", "group", "Id"),),
)
_SPECIMEN_EXAMPLE = Example("specimen/0", 0, "specimen", "How many?", "", evidence="Count all.")
