"""Which beginnings of a statement can still become a query over names that exist: for decoding held to a schema.

A model writes from left to right, and one invented name costs the whole answer. `Guide.allows` says of the text so far
whether some ending may still make it one SELECT whose tables, columns and aliases are there; `Guide.complete` whether
it may end here. Followed are names and their scopes (`names.py`, `scopes.py`), what may come next (`grammar.py`,
`place.py`) and token after token (`reading.py`). Types and meaning are not looked at.

Narrower than SQL on purpose: what is written before FROM must be judged before its tables are known, and a model that
is kept from an invented name must not escape into something legal that nobody would write. So: one line; an alias is
T1, T2, … in order, a letter (before FROM one that is in a table's name), the first two letters of a table or all its
initials; the first table holds one of the columns named without a table; tables are joined by JOIN … ON, without
subqueries; conditions compare and stand only in WHERE, ON and HAVING; no column is listed twice or compared with itself;
no rows of values, WITH, CASE, CAST, windows, parameters or comments, and few functions. Of the gold queries of Spider and of
the built-in example at least 97 of 100 are inside (docs/method.md). Standard library only.
"""

from __future__ import annotations

import re

from exspin.sql.guide.names import Names
from exspin.sql.guide.reading import Reading
from exspin.sql.guide.scopes import DeadEndError
from exspin.sql.schema import Schema

_REMEMBERED = 20_000  # texts whose reading is kept; forgotten all at once
_LAST_WORD = re.compile(r"(?<![\w$])[A-Za-z_\x80-\U0010ffff][\w$]*\Z")
_GLUED = re.compile(r"(?<![\w$.])(?:\d+\.?\d*|\.\d+)[A-Za-z_\x80-\U0010ffff][\w$]*\Z")
_SPACES = 3  # in a row, as many as people write


class Guide:
    """The names of one database, for the decoder of one process."""

    def __init__(self, schema: Schema) -> None:
        self._names = Names(schema)
        self._start = Reading(self._names)
        # Each text without its last token, and with it.
        self._read: dict[str, tuple[Reading, Reading] | None] = {}

    def allows(self, text: str) -> bool:
        """Can some ending make this a query whose names all exist?"""
        bare = text.rstrip(" ")
        tail = bare.rfind(" ") + 1
        word = _LAST_WORD.search(bare, tail)
        if word is not None:
            # The beginning of the last word decides most texts, and what was read before it is known already.
            reading = self._look(text[: word.start()])
            if reading is None:
                return False
            if not reading.unfinished:  # else it is inside a string
                if not reading.begins(word.group()):
                    return False
                if bare == text:
                    return True
        glued = _GLUED.search(bare, tail)
        if glued is not None:  # a word that begins right behind a number
            reading = self._look(text[: glued.start()])
            if reading is None or not reading.unfinished:
                return False
        if len(text) - len(bare) > _SPACES or bare[-1:].isspace() or bare[-1:] == "\ufeff":
            return False
        return self._look(text) is not None

    def complete(self, text: str) -> bool:
        """Is this a whole query?"""
        reading = self._look(text.rstrip() + " ")
        return reading is not None and reading.may_end

    def _look(self, stem: str) -> Reading | None:
        """What is known after these complete tokens; None where nothing may follow."""
        if stem not in self._read:
            if len(self._read) >= _REMEMBERED:
                self._read.clear()
            # All texts that only differ in what comes after their last space go on from there.
            words = stem[: stem.rstrip().rfind(" ") + 1]
            if words not in self._read:
                self._go_on(self._start, words)
            known = self._read[words]
            self._go_on(known[0] if known and not known[1].unfinished else self._start, stem)
        known = self._read[stem]
        return known and known[1]

    def _go_on(self, reading: Reading, stem: str) -> None:
        before = reading.copy()
        try:
            self._read[stem] = before, before.read(stem)
        except DeadEndError:
            self._read[stem] = None
