"""Who asks: the vocabulary of one database, and the two sources of chance of a question.

`shape` chooses what is asked (columns, operators, relations), `voice` chooses values and words. The same shape with
another voice is the same intent in other words.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from exspin.data.builtin.meaning import Schema, Value
from exspin.data.builtin.phrasebook import Kind, Link, Phrasebook


class Unsuitable(Exception):
    """This shape cannot be asked of this database; another is drawn."""


class Speaker:
    """Draws words of one phrasebook."""

    def __init__(
        self, book: Phrasebook, schema: Schema, shape: random.Random, voice: random.Random
    ) -> None:
        self.book = book
        self.schema = schema
        self.shape = shape
        self.voice = voice
        self._nouns: dict[str, int] = {}

    def one(self, table: str) -> str:
        """The singular noun; the same noun through a question."""
        return self.book.tables[table].one[self._noun(table)]

    def many(self, table: str) -> str:
        """The plural noun."""
        return self.book.tables[table].many[self._noun(table)]

    def _noun(self, table: str) -> int:
        count = len(self.book.tables[table].one)
        return self._nouns.setdefault(table, self.voice.choice((0, *range(count))))

    def say(self, table: str, column: str) -> str:
        """A column's name in words."""
        return self.voice.choice(self.book.tables[table].columns[column].say)

    def columns(self, table: str, *kinds: Kind) -> list[str]:
        """Columns of some kinds, all when none is given."""
        columns = self.book.tables[table].columns
        return [name for name, words in columns.items() if not kinds or words.kind in kinds]

    def pick(self, options: list[str]) -> str:
        """One of several names, by shape."""
        if not options:
            raise Unsuitable
        return self.shape.choice(options)

    def links_up(self, table: str) -> list[Link]:
        """Foreign keys of a table."""
        return [link for link in self.book.links if link.table == table]

    def links_down(self, table: str) -> list[Link]:
        """Foreign keys that point at a table."""
        return [link for link in self.book.links if link.parent == table]

    def is_plain(self, link: Link) -> bool:
        """Whether the two tables have no other foreign key between them, so that naming both is enough."""
        return [(k.table, k.parent) for k in self.book.links].count((link.table, link.parent)) == 1

    def words(self, wordings: Sequence[str]) -> str:
        """One of several wordings, by voice."""
        if not wordings:
            raise Unsuitable
        return self.voice.choice(wordings)


def said(value: Value) -> str:
    """A value as it is spoken: as stored."""
    if isinstance(value, str):
        return value
    return str(int(value)) if value == int(value) else repr(value)


def are_years(values: list[Value]) -> bool:
    """Whether numbers look like calendar years, which are said unrounded and are early or late."""
    return all(isinstance(v, int) and 1000 <= v <= 2100 for v in values) and values[0] != values[-1]
