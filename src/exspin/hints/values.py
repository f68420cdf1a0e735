"""The cell values that a question mentions, as they are stored: candidates from the index, then longest common substring.

A stretch of the question that is a whole value once case, accents, plurals, spaces and the format of numbers and dates
are put aside comes first; then values that share rare words with the question and most of their letters with one stretch
of it; then values that hold what the question quotes; last the codes of a column that the question names ("official
language": `T` and `F` of `IsOfficial`), which nobody writes out. What is long, quoted or spelled with capitals is surer than a
common word, and a value inside a longer one that was found says nothing. Bounded in time by constants here; a text that
is longer than a question is read from its beginning.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from exspin.data.builtin import default_cache_directory
from exspin.hints.folding import NUMBER, WORD, dates, fold, same_number, words
from exspin.hints.aliases import other_names
from exspin.hints.value_index import ColumnCount, ValueIndex, open_index
from exspin.progress import Progress
from exspin.records import Database
from exspin.sql.distinct import ValueReader, open_reader

VALUES_SHOWN = 10  # of one prompt at most; Spider's questions get about two on average
SURE = 0.5  # a lower score is for the linker, not for a prompt

_WORDS_READ = 600  # of a question with its evidence
_STRETCH = 12  # words of a stretch that may be a value
_SAME_KEY = 256  # values looked at for one stretch
_COLUMNS_EACH = 5  # columns shown for one stretch
_SPELLINGS_EACH = 2  # values shown of one column for one stretch
_PARTIAL = 40  # values that BM25 may propose
_POSTINGS_READ = 8_000
_MOST_OF = 0.7  # the part of a value that a stretch of the question must hold
_SHORTEST_PART = 5  # letters
_HOLD_QUOTED = 3  # values shown that hold one quoted text
_ALIAS = 0.9  # how sure another word for a value is
_CODES = 5  # values that a column of codes has at most
_CODE_LENGTH = 12
_NAMED_COLUMNS = 20
_NAMED = 0.6  # the part of a column's name that a question must hold to name it

# Words that are hardly ever meant as a value when they stand in small letters. "no" and "yes" are not among them.
_COMMON = frozenset(
    """
    a about above after all also among an and any are as at average be been before below between both but by can count
    did different do does done each either every find first for from get give had has have he her him his how i id if in
    into is it its keep kind last least less list many maximum me mean minimum more most much name names neither no none
    nor not number of off on one only or order other our out over per return same show so some than that the their them
    then there these they this those to together too total type under up use used using was we were what when where
    whether which while who whom whose why will with within without you your
    """.split()
)
_SAY_NOTHING = frozenset(map(fold, "is has was are have had yn flag code id of the type".split()))
_QUOTED = re.compile(
    r'"([^"]{1,256})"|“([^”]{1,256})”|``(.{1,256}?)(?:\'\'|``)|‘([^’]{1,256})’|`([^`]{1,256})`'
    r"|(?<!\w)'((?:[^']|(?<=\w)'(?=\w)){1,256})'(?!\w)"
)


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
        self._codes: dict[int, tuple[frozenset[str], list[int]]] = {}  # column: words of its name, its values
        self._coded_by: dict[str, list[int]] = defaultdict(list)  # word: columns of codes
        end = 0
        for at, column in enumerate(index.columns):
            end += column.values
            values = list(range(end - column.values, end)) if column.values <= _CODES else []
            name = frozenset(map(fold, words(_spaced(column.column)))) - _SAY_NOTHING
            if values and name and all(self._is_code(index.text(value)) for value in values):
                self._codes[at] = name, values
                for word in name:
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
        asked = _Asked(question, self._schema_words)
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
        for match in self._matches(_Asked(question, self._schema_words)):
            at = self.index.columns[self.index.column(match.value)]
            found.setdefault((at.table, at.column), round(match.score, 4))
        return found

    def _matches(self, asked: _Asked) -> list[_Match]:
        """Everything found, the surest first; at equal scores as the question goes, then in the schema's order."""
        found = list(self._whole(asked))
        found = list(_outermost(found))
        found += self._partial(asked, found)
        found.sort(key=lambda m: (-m.score, m.begin, m.value))
        best: dict[int, _Match] = {}
        for match in found:
            best.setdefault(match.value, match)
        return list(best.values())

    def _named_codes(self, asked: _Asked) -> Iterator[_Match]:
        """The values of columns of codes that the question names, as the schema goes."""
        said = set(asked.folded)
        columns = sorted({at for word in said for at in self._coded_by.get(word, ())})
        for at in columns[:_NAMED_COLUMNS]:
            name, values = self._codes[at]
            if len(name & said) >= _NAMED * len(name):
                for value in values:
                    yield _Match(value, self.index.text(value), -1, -1, SURE)

    @staticmethod
    def _is_code(text: str) -> bool:
        return len(text) <= _CODE_LENGTH and any(c.isalpha() for c in text)

    def _whole(self, asked: _Asked) -> Iterator[_Match]:
        """Values that a stretch of the question spells out."""
        stretches = asked.stretches()
        for i, values in self.index.with_keys([key for key, _, _, _ in stretches], _SAME_KEY):
            key, first, last, surety = stretches[i]
            begin, end = asked.place(first, last)
            for value in values:
                text = self.index.text(value)
                likeness = asked.likeness(text, key, begin, end, surety)
                if likeness:
                    yield _Match(value, text, begin, end, likeness)

    def _partial(self, asked: _Asked, whole: list[_Match]) -> Iterator[_Match]:
        """Values of several words that the question holds in part, or that hold what it quotes."""
        known = {match.value for match in whole}
        covered = {(match.begin, match.end) for match in whole if match.score >= SURE}
        quoted = [
            (span, " " + " ".join(asked.folded[first : last + 1]) + " ")
            for span, first, last in asked.quoted
            if span not in covered
        ]
        held: dict[tuple[int, int], int] = defaultdict(int)
        telling = [w for w, c in zip(asked.folded, asked.common, strict=True) if not c]
        for value in self.index.ranked(telling, _PARTIAL, _POSTINGS_READ):
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


class _Asked:
    """A question, read: its words, folded, with their places, and what it quotes."""

    def __init__(self, question: str, schema_words: frozenset[str]) -> None:
        self.text = question
        self._places: list[tuple[int, int]] = []
        for match in WORD.finditer(question):
            self._places.append(match.span())
            if len(self._places) == _WORDS_READ:
                break
        self._raw = [question[b:e] for b, e in self._places]
        self.folded = [fold(word) for word in self._raw]
        self.spaced = " " + " ".join(self.folded) + " "
        self.common = [word.lower() in _COMMON for word in self._raw]
        self._schema_words = schema_words
        self.quoted = list(self._read_quoted())
        self._within = {(first, last) for _, first, last in self.quoted}

    def _read_quoted(self) -> Iterator[tuple[tuple[int, int], int, int]]:
        """((begin, end), first word, last word) of each quoted text that has words."""
        for match in _QUOTED.finditer(self.text):
            begin, end = match.span(match.lastindex or 0)
            inside = [i for i, (b, e) in enumerate(self._places) if begin <= b and e <= end]
            if inside:
                yield self.place(inside[0], inside[-1]), inside[0], inside[-1]

    def place(self, first: int, last: int) -> tuple[int, int]:
        return self._places[first][0], self._places[last][1]

    def where(self, part: str) -> tuple[int, int]:
        """The place in the question of a part of `spaced`, widened to whole words."""
        first = self.spaced.count(" ", 0, self.spaced.index(part)) - 1
        return self.place(max(first, 0), min(first + part.count(" "), len(self._places) - 1))

    def stretches(self) -> list[tuple[str, int, int, float]]:
        """(key, first word, last word, surety) of whatever may be a value. An alias has a key of its own."""
        found = []
        count = len(self.folded)
        for first in range(count):
            for last in range(first, min(first + _STRETCH, count)):
                surety = self._surety(first, last)
                if surety:
                    found.append(("".join(self.folded[first : last + 1]), first, last, surety))
                    if last - first < 3:
                        names = other_names(" ".join(self._raw[first : last + 1]).lower())
                        found += [("".join(map(fold, words(n))), first, last, _ALIAS) for n in names]
        at = {begin: i for i, (begin, _) in enumerate(self._places)}
        for begin, end, key in dates(self.text):
            if begin in at:
                inside = [i for i, (b, e) in enumerate(self._places) if begin <= b and e <= end]
                found.append((key, inside[0], inside[-1], 1.0))
        return found

    def _surety(self, first: int, last: int) -> float:
        """How likely a stretch is meant as a value, by its looks; 0 where it cannot be."""
        if (first, last) in self._within:
            return 1.0
        if last > first:
            if self.common[first] and self.common[last] and all(self.common[first : last + 1]):
                return 0.0
            # "of France" and "France in": a value begins and ends with a word that says something, or with capitals
            edges = (first, last)
            if any(self.common[i] and not self._raw[i][0].isupper() for i in edges):
                return 0.7
            return 0.97
        raw = self._raw[first]
        if raw[0].isdigit():
            return 0.75 if len(raw) > 2 else 0.4
        capital = raw[0].isupper() and first > 0
        if len(raw) == 1:
            if raw in "AaIi" or self.text[self._places[first][0] - 1] in "'’":
                return 0.0  # an article, "I", or the end of "Kyle's"
            return 0.7 if capital else 0.6
        if self.common[first]:
            return 0.45 if capital else 0.3 if first else 0.0
        if self.folded[first] in self._schema_words and not capital:
            return 0.55
        return 0.95 if capital else 0.85

    def likeness(self, text: str, key: str, begin: int, end: int, surety: float) -> float:
        """The score of a value whose key a stretch has; 0 where the two are not alike."""
        stretch = self.text[begin:end]
        bare = text.strip()
        if key[0] == "@":
            return 0.95 * surety if any(k == key for _, _, k in dates(text)) else 0.0
        if stretch == bare:
            return surety if text == bare else 0.995 * surety
        if NUMBER.fullmatch(bare):
            signed = self.text[begin - 1 : end] if self.text[begin - 1 : begin] in ("-", "+") else stretch
            return 0.98 * surety if same_number(bare, signed) else 0.0
        if stretch.casefold() == bare.casefold():
            if len(bare) < 3 and bare.isalpha() and surety < 1:
                return 0.3 * surety  # "in" is not Indiana
            return 0.98 * surety
        if "".join(map(fold, words(text))) != key:
            return 0.0  # another value with the same hash
        return 0.9 * surety if len(bare) > 2 or surety == _ALIAS else 0.3 * surety


def _spaced(name: str) -> str:
    """A name with its words apart: IsOfficial is two."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def _outermost(found: Iterable[_Match]) -> Iterator[_Match]:
    """Matches that do not lie inside a longer one at least nearly as sure."""
    matches = list(found)
    spans: dict[tuple[int, int], float] = {}
    for match in matches:
        span = (match.begin, match.end)
        spans[span] = max(spans.get(span, 0.0), match.score)
    for match in matches:
        inside = any(
            b <= match.begin and match.end <= e and (e - b) > (match.end - match.begin) and score >= SURE
            for (b, e), score in spans.items()
        )
        if not inside:
            yield match


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
) -> Values:
    """The values of a database as it is now; its index is built where the cache has none. `cache` None: the user's.

    `reader` reads an engine that is not known here. Raises `DatabaseError` where the database cannot be read, `RunError`
    where the cache cannot be written.
    """
    cache = cache or default_cache_directory(os.environ).with_name("values")
    with reader or open_reader(database) as opened:
        return Values(open_index(opened, cache, progress))
