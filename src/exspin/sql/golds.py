"""Gold results a worker keeps, so that a gold runs once however often its candidates come.

Rows stay while they fit into `_ROWS_BYTES`; of an older result a digest stays. A candidate with the digest matches under
every comparator; for any other the gold has to run once more, since a digest cannot tell how two results differ.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from hashlib import blake2b
from typing import Any

from exspin.sql.compare import Rows, Rule
from exspin.sql.engines import Ran

_ROWS_BYTES = 32_000_000
_DIGESTS = 100_000


class Kept:
    """The result of a gold; `rows` is None where they were let go."""

    __slots__ = ("_digests", "count", "operations", "rows", "size", "width")

    def __init__(self, ran: Ran) -> None:
        self.rows: Rows | None = ran.rows
        self.width = len(ran.columns)
        self.count = len(ran.rows)
        self.size = ran.size
        self.operations = ran.operations
        self._digests: tuple[bytes, ...] = ()

    def let_go(self) -> None:
        """Keep a digest of the rows instead of them."""
        if self.rows is not None:
            self._digests = _digests(self.rows)
            self.rows = None

    def surely_equal(self, ran: Ran, rule: Rule) -> bool:
        """Does the digest say that a candidate's result is this one?"""
        if self.rows is not None or self.width != len(ran.columns):
            return False
        if self.count != len(ran.rows) and not rule.as_set:
            return False
        kind = 2 if rule.as_set else 0 if rule.ordered else 1
        return _digests(ran.rows)[kind] == self._digests[kind]


class Golds:
    """Kept results by database, its state, and SQL; the oldest go first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, Hashable, str], Kept] = OrderedDict()
        self._with_rows: OrderedDict[tuple[str, Hashable, str], Kept] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[str, Hashable | None, str]) -> Kept | None:
        kept = self._kept.get(key)
        if kept is not None and kept.rows is not None:
            self._with_rows.move_to_end(key)
        return kept

    def keep(self, key: tuple[str, Hashable | None, str], kept: Kept) -> None:
        """Keep a result, unless nobody can tell whether it will hold. The newest never loses its rows here."""
        if key[1] is None:
            return
        while self._with_rows and self._bytes + kept.size > _ROWS_BYTES:
            old_key, old = self._with_rows.popitem(last=False)
            self._bytes -= old.size
            try:
                old.let_go()
            except MemoryError:  # it will run again
                del self._kept[old_key]
        while len(self._kept) >= _DIGESTS:
            oldest = self._kept.popitem(last=False)[0]
            if gone := self._with_rows.pop(oldest, None):
                self._bytes -= gone.size
        self._kept[key] = self._with_rows[key] = kept
        self._bytes += kept.size


def _digests(rows: Rows) -> tuple[bytes, bytes, bytes]:
    """Of the rows as a list, as a bag and as a set. Equal values give equal digests: 1 and 1.0 do."""
    lines = [repr(tuple(map(_spelled, row))).encode("utf-8", "surrogatepass") for row in rows]
    bag = sorted(lines)
    return _digest(lines), _digest(bag), _digest(sorted(set(lines)))


def _spelled(cell: Any) -> Any:
    return int(cell) if type(cell) is float and cell.is_integer() else cell


def _digest(lines: Iterable[bytes]) -> bytes:
    digest = blake2b(digest_size=16)
    for line in lines:
        digest.update(line)
        digest.update(b"\n")  # never part of a repr
    return digest.digest()
