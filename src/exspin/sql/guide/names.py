"""The names of a schema, in lower case, and how they may be written."""

from __future__ import annotations

from collections.abc import Iterable

from exspin.sql.schema import Schema, quote_name


class Names:
    """`tables` maps each table to its columns; `plain` names need no quotes; `aliases` are what a table may be called."""

    def __init__(self, schema: Schema) -> None:
        self.tables = {
            table.name.lower(): frozenset(column.name.lower() for column in table.columns)
            for table in schema.tables
        }
        self.columns = frozenset[str]().union(*self.tables.values())
        written = {table.name for table in schema.tables}
        written |= {column.name for table in schema.tables for column in table.columns}
        self.plain = {name.lower() for name in written if quote_name(name) == name}
        self.aliases = {f"t{number}" for number in range(1, 13)}
        for name in self.tables:
            initials = [word[0] for word in name.split("_") if word]
            self.aliases |= {name[:2], "".join(initials), *initials}
        self._spellings: dict[str, set[str]] = {}
        for name in written:
            self._spellings.setdefault(name.lower(), set()).add(name)

    def spelled(self, words: Iterable[str]) -> list[str]:
        """Every way to write these words, sorted: as they were declared, or all letters of one case."""
        found = set[str]()
        for word in words:
            found |= {word, word.upper(), word.capitalize(), *self._spellings.get(word, ())}
        return sorted(found)
