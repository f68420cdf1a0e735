"""The nouns: what passes from one stage to the next.

Every record is frozen and has `to_json` (a plain dict with stable key order) and `from_json`, so a stage's
output is a JSONL file a person can open. Nothing here reads files, runs SQL or knows a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from exspin import urls


class Outcome(StrEnum):
    """What execution says of one candidate. One taxonomy for loss, score, report and ask."""

    MATCH = "match"  # same result as gold under the comparator
    MISMATCH = "mismatch"  # ran, other result; detail: empty, row_count, column_count, values, order, accidental
    ERROR = "error"  # the engine refused it; detail: no_such_table, no_such_column, syntax, …
    TIMEOUT = "timeout"  # stopped at the time limit
    TOO_LARGE = "too_large"  # result or memory past the caps
    DENIED = "denied"  # tried to do something other than read
    NOT_A_QUERY = "not_a_query"  # no single SELECT in it
    GOLD_UNUSABLE = (
        "gold_unusable"  # gold itself fails or its database is missing: not in the denominator
    )
    INFRA = "infra"  # our side failed (worker lost, disk): retried, never teaches


class Flat:
    """`to_json`/`from_json` for flat frozen dataclasses; tuples become lists and come back as tuples."""

    def to_json(self) -> dict[str, Any]:
        return {
            f.name: list(value) if isinstance(value := getattr(self, f.name), tuple) else value
            for f in fields(self)  # type: ignore[arg-type]
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        return cls(
            **{
                f.name: tuple(row[f.name]) if isinstance(row[f.name], list) else row[f.name]
                for f in fields(cls)  # type: ignore[arg-type]
                if f.name in row
            }
        )


@dataclass(frozen=True, slots=True)
class Database(Flat):
    """A database that questions are asked of. `url` is `sqlite:///ABSOLUTE_PATH`, byte for byte without escapes, or the
    URL of another engine: `duckdb:///PATH`, `postgresql://…`, `mysql://…`. The URL alone holds the password; nothing that is
    printed or written does, `to_json` included.
    """

    db_id: str
    url: str

    def __repr__(self) -> str:
        return f"Database(db_id={self.db_id!r}, url={self.shown!r})"

    def to_json(self) -> dict[str, Any]:
        return {"db_id": self.db_id, "url": self.shown}

    @property
    def shown(self) -> str:
        """For people: the URL without its password."""
        return urls.without_password(self.url)

    @property
    def place(self) -> str:
        """For people: the file, or the URL of the server without its password."""
        return str(self.path) if self.is_file else self.shown

    @classmethod
    def sqlite(cls, db_id: str, path: Path) -> Self:
        return cls(db_id, urls.file_url("sqlite", path))

    @property
    def kind(self) -> str:
        """The engine, one of `exspin.urls.KINDS` where it is known."""
        return urls.kind_of(self.url)

    @property
    def is_file(self) -> bool:
        """Is it a file, not a server?"""
        return self.kind in urls.FILES

    @property
    def path(self) -> Path:
        """The file behind the URL."""
        return urls.file_of(self.url)


@dataclass(frozen=True, slots=True)
class Example(Flat):
    """One question with its gold SQL. `index` is its 0-based row in the split."""

    example_id: str  # unique and stable: "builtin/train/17"
    index: int
    db_id: str
    question: str
    query: str
    evidence: str = ""
    hardness: str = (
        ""  # the data's own label, else Spider's easy | medium | hard | extra; "" where unknown
    )
    handwritten: bool = False


@dataclass(frozen=True, slots=True)
class Hints:
    """What is known of one question beside its schema; in each list the surest comes first."""

    links: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (table, columns of it) that it needs
    values: tuple[tuple[str, str, str], ...] = ()  # (table, column, value) that it mentions
    shots: tuple[tuple[str, str], ...] = ()  # (question, query) of similar ones that are solved


@dataclass(frozen=True, slots=True)
class Prompt(Flat):
    """What the model is shown, byte for byte, in generation and in training.

    `text[:prefix_chars]` is the schema, which all questions of one database share unless it holds linked items alone. It is
    tokenized apart from the rest, so a shared prefix has the same token ids in every prompt.
    """

    example_id: str
    db_id: str
    text: str
    prefix_chars: int
    trimmed: tuple[str, ...] = ()  # what did not fit and was left out, in the order it was dropped
    links: int = 0  # tables that the linker chose and the text shows or names
    values: int = 0  # cells that the question mentions, as the text gives them
    shots: int = 0  # solved questions before this one

    def to_json(self) -> dict[str, Any]:
        row = super(Prompt, self).to_json()
        hints = {name: row.pop(name) for name in ("links", "values", "shots")}
        return {**row, **{name: count for name, count in hints.items() if count}}


@dataclass(frozen=True, slots=True)
class Candidate(Flat):
    """One answer the opponent (or, in evaluation, the policy) wrote."""

    example_id: str
    k: int  # 0-based number of the sample for this question
    text: str  # as written, special tokens removed
    finish_reason: str  # "stop": the model ended it; "length": cut off at the limit
    token_ids: tuple[
        int, ...
    ] = ()  # as produced, without the end token; () where the source gives no ids


@dataclass(frozen=True, slots=True)
class Verdict(Flat):
    """What execution said of one candidate."""

    example_id: str
    k: int
    outcome: Outcome
    detail: str  # kind of mismatch or error; "" for a match
    sql: str  # the statement that was executed, as extracted from the text

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        return cls(**{**row, "outcome": Outcome(row["outcome"])})


@dataclass(frozen=True, slots=True)
class Pair(Flat):
    """One gold answer against one distinct candidate, with what it is worth in the loss.

    `multiplicity` candidates of the question had this same text; `weight` already counts them.
    """

    example_id: str
    k: int
    outcome: Outcome
    weight: (
        float  # w(o) of the preset, times multiplicity, divided by the question's candidate count
    )
    gold: str  # gold answer text
    candidate: str  # candidate answer text
    finish_reason: str
    multiplicity: int = 1
    token_ids: tuple[int, ...] = ()  # the candidate's

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in row.items() if key in known}
        values["outcome"] = Outcome(values["outcome"])
        values["token_ids"] = tuple(values.get("token_ids", ()))
        return cls(**values)
