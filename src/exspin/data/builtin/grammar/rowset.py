"""Which rows a question speaks of: a noun with post-modifiers, and the conditions they stand for."""

from __future__ import annotations

from dataclasses import dataclass

from exspin.data.builtin.grammar import wording
from exspin.data.builtin.grammar.modifiers import Modifier, compared, either, local
from exspin.data.builtin.grammar.relations import related
from exspin.data.builtin.grammar.speaker import Speaker
from exspin.data.builtin.meaning import Cond


@dataclass(frozen=True, slots=True)
class RowSet:
    """Rows of one table: what they are called and which they are."""

    table: str
    many: str
    one: str
    modifiers: tuple[Modifier, ...]
    text: str  # all modifiers, after a plural noun

    @property
    def conds(self) -> tuple[Cond, ...]:
        """The conditions of all modifiers."""
        return tuple(cond for modifier in self.modifiers for cond in modifier.conds)

    @property
    def fixed(self) -> frozenset[str]:
        """Columns the modifiers speak of."""
        return frozenset(c for modifier in self.modifiers for c in modifier.columns)

    @property
    def set(self) -> str:
        """Plural noun with modifiers."""
        return f"{self.many} {self.text}".strip()


def draw_rows(s: Speaker, table: str, kind: str) -> RowSet:
    """A row set of one kind: `all`, `local`, `two`, `either`, `related`, `mixed`, `compared`, `compared+`."""
    modifiers: tuple[Modifier, ...]
    match kind:
        case "all":
            modifiers = ()
        case "local":
            modifiers = (local(s, table),)
        case "two":
            first = local(s, table)
            modifiers = (first, local(s, table, avoid=first.columns))
        case "either":
            modifiers = (either(s, table),)
        case "related":
            modifiers = (related(s, table),)
        case "mixed":
            modifiers = (local(s, table), related(s, table))
        case "compared":
            modifiers = (compared(s, table),)
        case "compared+":
            first = compared(s, table)
            modifiers = (local(s, table, avoid=first.columns), first)
        case _:
            raise ValueError(kind)
    return row_set(s, table, modifiers)


def row_set(s: Speaker, table: str, modifiers: tuple[Modifier, ...]) -> RowSet:
    """Name a table's rows with modifiers, in an order that reads well."""
    nested = [m.text for m in modifiers if m.nested]
    plain = [m.text for m in modifiers if not m.nested]
    text = wording.chain(plain, s.voice) if plain else ""
    for modifier in nested:
        clash = wording.is_relative(text)
        link = "and" if clash or (text and s.voice.random() < 0.4) else ""
        if modifier.startswith(wording.CLOSE):
            link = ""
        text = " ".join(part for part in (text, link, modifier) if part)
    return RowSet(table, s.many(table), s.one(table), modifiers, text)
