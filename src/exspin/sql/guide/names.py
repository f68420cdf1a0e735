"""The names of a schema, in lower case, and how they may be written."""

from __future__ import annotations

from collections.abc import Iterable

from exspin.sql.schema import Schema, quote_name


class Names:
    """`tables` maps each table to its columns; `plain` names need no quotes; `aliases` are what a table may be called
    before it is known which one it is."""

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
            self.aliases |= {name[:2], "".join(initials), *filter(str.isalpha, name)}
        self._covered: dict[tuple[object, ...], bool] = {}
        self._spellings: dict[str, set[str]] = {}
        for name in written:
            self._spellings.setdefault(name.lower(), set()).add(name)

    def can_cover(
        self,
        sources: tuple[frozenset[str], ...],
        settled: frozenset[str],
        waiting: frozenset[str],
        more: int,
    ) -> bool:
        """Can at most `more` tables be found, so that each of `waiting` is a column of one?

        For each of `sources`, one of them has all these columns, or is the table of this name (`{"= name"}`); and none
        holds one of `settled`, nor two the same of `waiting`.
        """
        key = (sources, settled, waiting, more)
        if key not in self._covered:
            self._covered[key] = self._search(sources, settled, waiting, more)
        return self._covered[key]

    def _search(
        self,
        sources: tuple[frozenset[str], ...],
        settled: frozenset[str],
        waiting: frozenset[str],
        more: int,
    ) -> bool:
        if not sources and not waiting:
            return True
        if more == 0:
            return False
        wanted = sources[0] if sources else frozenset({min(waiting)})
        return any(
            self.can_cover(sources[1:], settled | (waiting & held), waiting - held, more - 1)
            for name, held in self.tables.items()
            if (wanted <= held or wanted == {f"= {name}"}) and held.isdisjoint(settled)
        )

    def can_sum(self, columns: int, more: int) -> bool:
        """Can at most `more` tables, some perhaps several times, have so many columns together?"""
        sizes = {len(held) for held in self.tables.values()}
        sums = {0}
        for _ in range(more):
            sums |= {done + size for done in sums for size in sizes if done + size <= columns}
        return columns in sums

    def spelled(self, words: Iterable[str]) -> list[str]:
        """Every way to write these words, sorted: as they were declared, or all letters of one case."""
        found = set[str]()
        for word in words:
            found |= {word, word.upper(), word.capitalize(), *self._spellings.get(word, ())}
        return sorted(found)
