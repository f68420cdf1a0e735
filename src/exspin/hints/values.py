"""The cell values that a question mentions, as they are stored: candidates from the index, then longest common substring.

A stretch of the question that is a whole value once case, accents, plurals, spaces and the format of numbers and dates
are put aside comes first; then values that share rare words with the question and most of their letters with one stretch
of it; then values that hold what the question quotes or spells with capitals; last the codes of a column that the
question names ("official language": `T` and `F` of `IsOfficial`), which nobody writes out. What is long, quoted or spelled
with capitals is surer than a common word, and a value inside a longer one that was found says nothing. Bounded in time by
constants here; a text that is longer than a question is read from its beginning.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from exspin.data.builtin import default_cache_directory
from exspin.hints.folding import fold, words
from exspin.hints.question import Asked
from exspin.hints.value_index import ColumnCount, ValueIndex, open_index
from exspin.progress import Progress
from exspin.records import Database
from exspin.sql.distinct import ValueReader, open_reader

VALUES_SHOWN = 10  # of one prompt at most; Spider's questions get about two on average
SURE = 0.5  # a lower score is for the linker, not for a prompt

_SAME_KEY = 256  # values looked at for one stretch
_LOOKED_AT = 20_000  # values of all stretches together
_COLUMNS_EACH = 5  # columns shown for one stretch
_SPELLINGS_EACH = 2  # values shown of one column for one stretch
_PARTIAL = 40  # values that BM25 may propose
_POSTINGS_READ = 8_000
_MOST_OF = 0.7  # the part of a value that a stretch of the question must hold
_SHORTEST_PART = 5  # letters
_HOLD_QUOTED = 3  # values shown that hold one quoted text
_CODES = 5  # values that a column of codes has at most
_CODE_LENGTH = 12
_WITH_NAME = 0.35  # so sure a short number or letter is shown where the question names its column
_NAMED_COLUMNS = 20
_NAMED = 0.6  # the part of a column's name that a question must hold to name it

_EMPTY_WORDS = "is has was are have had yn flag code id of the type name title"  # of a name
_SAY_NOTHING = frozenset(map(fold, _EMPTY_WORDS.split()))


@dataclass(frozen=True, slots=True)
class ValueHint:
    """One value as it is stored. `score` is from 0 to 1: how sure it is that the question means it."""

    table: str
    column: str
    value: str
    score: float


@dataclass(frozen=True, slots=True)
class _Match:
    value: int  # its number in the index
    text: str
    begin: int  # of the stretch in the question
    end: int
    score: float


class Values:
    """The values of one database, open for questions."""

    def __init__(self, index: ValueIndex) -> None:
        self.index = index
        names = (name for c in index.columns for name in (c.table, c.column))
        spaced = " ".join(map(_spaced, set(names)))
        self._schema_words = frozenset(map(fold, words(spaced)))
        self._names = [
            frozenset(map(fold, words(_spaced(c.column)))) - _SAY_NOTHING for c in index.columns
        ]
        self._codes: dict[int, list[int]] = {}  # column: its values
        self._coded_by: dict[str, list[int]] = defaultdict(list)  # word: columns of codes
        end = 0
        for at, column in enumerate(index.columns):
            end += column.values
            values = list(range(end - column.values, end)) if column.values <= _CODES else []
            if values and all(self._is_code(index.text(value)) for value in values):
                self._codes[at] = values
                for word in self._names[at]:
                    self._coded_by[word].append(at)

    @property
    def left_out(self) -> tuple[ColumnCount, ...]:
        """The columns of which not every value is in the index, with how many are not."""
        return tuple(count for count in self.index.columns if not count.whole)

    def find(self, question: str, limit: int = VALUES_SHOWN) -> tuple[ValueHint, ...]:
        """The values that a question mentions, the surest first, `limit` at most. Evidence may follow the question."""
        shown: set[int] = set()
        each: dict[tuple[int, int, int], int] = defaultdict(int)
        columns: dict[tuple[int, int], set[int]] = defaultdict(set)
        found: list[ValueHint] = []
        asked = Asked(question, self._schema_words)
        for match in (*self._matches(asked), *self._named_codes(asked)):
            if match.score < SURE:
                continue
            if len(found) == limit:
                break
            if match.value in shown:
                continue
            stretch = (match.begin, match.end)
            column = self.index.column(match.value)
            each[*stretch, column] += 1
            columns[stretch].add(column)
            if match.begin >= 0 and (
                each[*stretch, column] > _SPELLINGS_EACH or len(columns[stretch]) > _COLUMNS_EACH
            ):
                continue
            shown.add(match.value)
            at = self.index.columns[column]
            found.append(ValueHint(at.table, at.column, match.text, round(match.score, 4)))
        return tuple(found)

    def hits(self, question: str) -> dict[tuple[str, str], float]:
        """For each (table, column) with a value that the question may mention, the best score of one."""
        found: dict[tuple[str, str], float] = {}
        for match in self._matches(Asked(question, self._schema_words)):
            at = self.index.columns[self.index.column(match.value)]
            found.setdefault((at.table, at.column), round(match.score, 4))
        return found

    def _matches(self, asked: Asked) -> list[_Match]:
        """Everything found, the surest first; at equal scores as the question goes, then in the schema's order."""
        found = list(_outermost(self._whole(asked)))
        found += self._partial(asked, found)
        found.sort(key=lambda m: (-m.score, m.begin, m.value))
        best: dict[int, _Match] = {}
        for match in found:
            best.setdefault(match.value, match)
        return list(best.values())

    def _named_codes(self, asked: Asked) -> Iterator[_Match]:
        """The values of columns of codes that the question names, as the schema goes."""
        said = set(asked.folded)
        columns = sorted({at for word in asked.telling() for at in self._coded_by.get(word, ())})
        for at in columns[:_NAMED_COLUMNS]:
            name = self._names[at]
            if len(name & said) >= _NAMED * len(name):
                for value in self._codes[at]:
                    yield _Match(value, self.index.text(value), -1, -1, SURE)

    @staticmethod
    def _is_code(text: str) -> bool:
        return len(text) <= _CODE_LENGTH and any(c.isalpha() for c in text)

    def _whole(self, asked: Asked) -> Iterator[_Match]:
        """Values that a stretch of the question spells out."""
        stretches, said, looked_at = asked.stretches(), set(asked.telling()), 0
        for i, values in self.index.with_keys([key for key, _, _, _ in stretches], _SAME_KEY):
            key, first, last, surety = stretches[i]
            begin, end = asked.place(first, last)
            looked_at += len(values)
            if looked_at > _LOOKED_AT:
                break
            for value in values:
                text = self.index.text(value)
                likeness = asked.likeness(text, key, begin, end, surety)
                if likeness >= _WITH_NAME and self._names[self.index.column(value)] & said:
                    likeness = max(likeness, 0.6)  # "level number 8", "an A as their grade"
                if likeness:
                    yield _Match(value, text, begin, end, likeness)

    def _partial(self, asked: Asked, whole: list[_Match]) -> Iterator[_Match]:
        """Values of several words that the question holds in part, or that hold what it quotes."""
        known = {match.value for match in whole}
        covered = {(match.begin, match.end) for match in whole if match.score >= SURE}
        quoted = [
            (span, " " + " ".join(asked.folded[first : last + 1]) + " ")
            for span, first, last in (*asked.quoted, *asked.names())
            if not any(b <= span[0] and span[1] <= e for b, e in covered)
        ]
        held: dict[tuple[int, int], int] = defaultdict(int)
        for value in self.index.ranked(asked.telling(), _PARTIAL, _POSTINGS_READ):
            if value in known:
                continue
            text = self.index.text(value)
            spaced = " " + " ".join(map(fold, words(text))) + " "
            part = _longest_common(spaced, asked.spaced).strip()
            share = len(part) / (len(spaced) - 2)
            if share >= _MOST_OF and len(part) >= _SHORTEST_PART:
                begin, end = asked.where(part)
                if not any(b <= begin and end <= e for b, e in covered):
                    yield _Match(value, text, begin, end, 0.85 * share)
                    continue
            for span, inner in quoted:
                if inner in spaced and held[span] < _HOLD_QUOTED:
                    held[span] += 1
                    yield _Match(value, text, *span, 0.6)
                    break


def _spaced(name: str) -> str:
    """A name with its words apart: IsOfficial is two."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def _outermost(found: Iterable[_Match]) -> Iterator[_Match]:
    """Matches that do not lie inside a longer one that is sure."""
    matches = list(found)
    sure: dict[tuple[int, int], bool] = {}
    for match in matches:
        span = (match.begin, match.end)
        sure[span] = sure.get(span, False) or match.score >= SURE
    outer: set[tuple[int, int]] = set()
    furthest = -1  # end of the sure stretches that begin no later
    for span in sorted(sure, key=lambda s: (s[0], -s[1])):
        if span[1] > furthest:
            outer.add(span)
            furthest = span[1] if sure[span] else furthest
    return (match for match in matches if (match.begin, match.end) in outer)


def _longest_common(text: str, other: str) -> str:
    """The longest substring of `text` that stands in `other`."""
    best, begin = "", 0
    while begin + len(best) < len(text):
        while (longer := text[begin : begin + len(best) + 1]) in other and len(longer) > len(best):
            best = longer
        begin += 1
    return best


def open_values(
    database: Database,
    cache: Path | None = None,
    *,
    reader: ValueReader | None = None,
    progress: Progress | None = None,
    allow_privileged: bool = False,
) -> Values:
    """The values of a database as it is now; its index is built where the cache has none. `cache` None: the user's.

    `reader` reads an engine that is not known here; `allow_privileged` goes on with a server's login that may write. Raises `DatabaseError` where the database cannot be read, `RunError`
    where the cache cannot be written.
    """
    cache = cache or default_cache_directory(os.environ).with_name("values")
    with reader or open_reader(database, allow_privileged=allow_privileged) as opened:
        return Values(open_index(opened, cache, progress))
