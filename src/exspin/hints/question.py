"""A question, read for what in it may be a value: stretches of words with how sure each looks, quotes, names, dates."""

from __future__ import annotations

import re
from collections.abc import Iterator

from exspin.hints.aliases import other_names
from exspin.hints.folding import KEY_WORDS, NUMBER, WORD, dates, fold, same_number, words

_CHARACTERS_READ = 20_000  # of a question with its evidence
_ALIAS = 0.9  # how sure another word for a value is
_WORDS_READ = 600  # of a question with its evidence
# Words that are hardly ever meant as a value when they stand in small letters.
_COMMON_WORDS = """
a about above after all also among an and any are as at average be been before below between both but by can count
did different do does done each either every find first for from get give had has have he her him his how i id if in
into is it its keep kind last least less list many maximum me mean minimum more most much name names neither no none
nor not number of off on one only or order other our out over per return same show so some than that the their them
then there these they this those to together too total type under up use used using was we were what when where
whether which while who whom whose why will with within without you your
"""
_COMMON = frozenset(_COMMON_WORDS.split())
_QUOTED = re.compile(
    r'"([^"]{1,256})"|“([^”]{1,256})”|``(.{1,256}?)(?:\'\'|``)|‘([^’]{1,256})’|`([^`]{1,256})`'
    r"|(?<!\w)'((?:[^']|(?<=\w)'(?=\w)){1,256})'(?!\w)"
)


class Asked:
    """A question, read: its words, folded, with their places, and what it quotes."""

    def __init__(self, question: str, schema_words: frozenset[str]) -> None:
        question = question[:_CHARACTERS_READ]
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

    def names(self) -> Iterator[tuple[tuple[int, int], int, int]]:
        """As `quoted`: runs of words with capitals, the question's first word aside."""
        first = None
        for i, raw in enumerate([*self._raw, ""]):
            if i and raw[:1].isupper() and not self.common[i] and len(raw) > 2:
                first = i if first is None else first
            elif first is not None:
                yield self.place(first, i - 1), first, i - 1
                first = None

    def telling(self) -> list[str]:
        """The folded words that are not common ones."""
        return [word for word, common in zip(self.folded, self.common, strict=True) if not common]

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
            for last in range(first, min(first + KEY_WORDS, count)):
                surety = self._surety(first, last)
                if surety:
                    found.append(("".join(self.folded[first : last + 1]), first, last, surety))
                    if last - first < 3:
                        names = other_names(" ".join(self._raw[first : last + 1]).lower())
                        found += [
                            ("".join(map(fold, words(n))), first, last, _ALIAS) for n in names
                        ]
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
            if raw in "aIi" or not first or self.text[self._places[first][0] - 1] in "'’":
                return 0.0  # an article, "I", or the end of "Kyle's"
            if raw == "A":
                return 0.4
            return 0.7 if capital else 0.6
        if raw.isupper() and not self.text.isupper():
            return 0.85 if self.common[first] else 0.95
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
        if NUMBER.fullmatch(bare):
            if not same_number(bare, self._sign(begin) + stretch):
                return 0.0
            return surety if stretch == bare else 0.98 * surety
        if stretch == bare:
            return surety if text == bare else 0.995 * surety
        if stretch.casefold() == bare.casefold():
            if len(bare) < 3 and bare.isalpha() and surety < 1:
                return 0.3 * surety  # "in" is not Indiana
            return 0.98 * surety
        if "".join(map(fold, words(text))) != key:
            return 0.0  # another value with the same hash
        return 0.9 * surety if len(bare) > 2 or surety == _ALIAS else 0.3 * surety

    def _sign(self, begin: int) -> str:
        """The minus sign before a number; a hyphen after a word is none."""
        return "-" if re.search(r"(?<!\w)-$", self.text[max(0, begin - 2) : begin]) else ""
