"""A schema as a linker reads it: what does not depend on the question, computed once.

Axes in names: V words of the schema, C columns, T tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exspin.hints.folding import fold, words
from exspin.hints.likeness import NAME_WORDS, STOP_WORDS, likeness, name_words, other_words, stem
from exspin.hints.link import Item, joins
from exspin.sql.schema import Column, Schema

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_COMMENT_WORDS = 40
_KNOWN_WORDS = 20_000  # whose likeness to the words of one schema is kept

_KINDS = ("integer", "real", "text", "date", "boolean", "other")


class SchemaView:
    """A schema, read once: its words, who has them, types, keys and neighbours."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.tables = [table.name for table in schema.tables]
        self.items: list[Item] = [(t.name, c.name) for t in schema.tables for c in t.columns]
        self.table_of: Ints = np.array(
            [i for i, t in enumerate(schema.tables) for _ in t.columns], np.int64
        )
        columns = [column for table in schema.tables for column in table.columns]
        self.number = {item: i for i, item in enumerate(self.items)}
        table_number = {name: i for i, name in enumerate(self.tables)}

        table_words = [name_words(name) for name in self.tables]
        self.column_words = [name_words(c.name) for c in columns]
        own = [
            [w for w in found if w not in table_words[t]]
            for found, t in zip(self.column_words, self.table_of, strict=True)
        ]
        said = [_comment_words(f"{c.comment} {c.values}") for c in columns]
        said_of_tables = [_comment_words(t.comment) for t in schema.tables]
        everything = (*table_words, *self.column_words, *said, *said_of_tables)
        self.vocabulary = list(dict.fromkeys(word for found in everything for word in found))
        self._word_number = {word: i for i, word in enumerate(self.vocabulary)}
        self._by_letter: dict[str, list[int]] = {}
        self._by_stem: dict[str, list[int]] = {}
        for i, word in enumerate(self.vocabulary):
            self._by_letter.setdefault(word[0], []).append(i)
            self._by_stem.setdefault(stem(word), []).append(i)

        names = [*table_words, *self.column_words]
        seen: dict[str, int] = {}
        for found in names:
            for word in set(found):
                seen[word] = seen.get(word, 0) + 1
        self.weight = {w: float(np.log(1 + len(names) / n)) for w, n in seen.items()}
        for word in seen:
            if word in STOP_WORDS:
                self.weight[word] *= 0.2
        self.of_columns = self._shares(self.column_words)  # C, V: rows sum to 1, or 0 without words
        self.of_own = self._shares(own)
        self.of_tables = self._shares(table_words)
        self.of_comments = self._shares(said)
        self.of_table_comments = self._shares(said_of_tables)
        self.padded_columns = self._padded(self.column_words)  # C, NAME_WORDS: word numbers
        self.padded_tables = self._padded(table_words)
        self.heads = _heads(self.padded_columns, self.column_words)
        self.table_heads = _heads(self.padded_tables, table_words)
        self.hashed_columns = _hashed_words(self.column_words)  # C, NAME_WORDS
        self.hashed_tables = _hashed_words(table_words)
        self.spelled = ["".join(found) for found in self.column_words]
        self.spelled_tables = ["".join(found) for found in table_words]
        self.phrases = [" " + " ".join(found) + " " for found in self.column_words]
        self.table_phrases = [" " + " ".join(found) + " " for found in table_words]

        self.kinds = np.array([_kind(c) for c in columns], np.int64)
        pairs = joins(schema)
        joined = np.zeros((2, len(columns)), np.float32)  # as child, as parent
        self.neighbours = np.zeros((len(self.tables), len(self.tables)), bool)
        for child, parent in pairs:
            joined[0, self.number[child]] = joined[1, self.number[parent]] = 1
            a, b = table_number[child[0]], table_number[parent[0]]
            self.neighbours[a, b] = self.neighbours[b, a] = a != b
        self.joined_columns = np.array(
            [(self.number[child], self.number[parent]) for child, parent in pairs], np.int64
        ).reshape(len(pairs), 2)
        near = self.neighbours.astype(np.int64)
        self.second_neighbours = (near @ near > 0) & ~np.eye(len(near), dtype=bool)
        sizes = np.array([len(t.columns) for t in schema.tables], np.int64)
        starts = np.cumsum(sizes) - sizes
        self.sizes, self.starts = sizes, starts
        self.filled = np.flatnonzero(sizes)  # tables with columns; these lie one behind the other
        shared = np.array(self._sharing(), np.float32)
        place = np.arange(len(columns)) - starts[self.table_of] if len(columns) else np.zeros(0)
        self.static_columns = (
            np.column_stack(
                [
                    *(self.kinds == k for k in range(len(_KINDS))),
                    [c.primary_key for c in columns],
                    joined[0],
                    joined[1],
                    place,
                    place / np.maximum(1, sizes[self.table_of]),
                    sizes[self.table_of],
                    [len(found) for found in self.column_words],
                    [len(found) for found in own],
                    [bool(c.comment) for c in columns],
                    shared,
                    [schema.tables[t].view for t in self.table_of],
                ]
            )
            .astype(np.float32)
            .reshape(len(columns), 17)
        )
        foreign = np.array(
            [joined[0, s : s + n].sum() for s, n in zip(starts, sizes, strict=True)], np.float32
        )
        self.static_tables = np.column_stack(
            [
                sizes,
                foreign,
                foreign / np.maximum(1, sizes),
                self.neighbours.sum(1),
                np.arange(len(self.tables)) / max(1, len(self.tables)),
                [len(found) for found in table_words],
                [t.view for t in schema.tables],
                self._contained(table_words),
            ]
        ).astype(np.float32)
        self._alike: dict[str, tuple[Floats, Floats]] = {}

    def _sharing(self) -> list[int]:
        """For each column: how many columns have its name."""
        counts: dict[str, int] = {}
        for name in self.spelled:
            counts[name] = counts.get(name, 0) + 1
        return [counts[name] for name in self.spelled]

    @staticmethod
    def _contained(table_words: list[list[str]]) -> list[int]:
        """For each table: how many other tables' words are all in its name, as in concert_singer."""
        sets = [set(found) for found in table_words]
        by_word: dict[str, list[int]] = {}
        for i, found in enumerate(sets):
            for word in found:
                by_word.setdefault(word, []).append(i)
        return [
            sum(sets[j] < found for j in {j for w in found for j in by_word[w]}) for found in sets
        ]

    def _shares(self, names: list[list[str]]) -> Floats:
        found = np.zeros((len(names), len(self.vocabulary)), np.float32)
        for i, name in enumerate(names):
            weights = {w: self.weight.get(w, 1.0) for w in name}
            total = sum(weights.values())
            for word, weight in weights.items():
                found[i, self._word_number[word]] = weight / total
        return found

    def _padded(self, names: list[list[str]]) -> Ints:
        """Word numbers, padded with one past the last, whose likeness is always 0."""
        found = np.full((len(names), NAME_WORDS * 2), len(self.vocabulary), np.int64)
        for i, name in enumerate(names):
            for j, word in enumerate(name):
                found[i, j] = self._word_number[word]
        return found[:, : max([1, *map(len, names)])]

    def alike(self, word: str) -> tuple[Floats, Floats]:
        """Likeness of a folded word to the V words and a 0, and the share of each of the C + T names that it spells."""
        known = self._alike.get(word)
        if known is None:
            row = np.zeros(len(self.vocabulary) + 1, np.float32)
            for i in {
                *self._by_letter.get(word[0], ()),
                *self._by_stem.get(stem(word), ()),
                *self._others(word),
            }:
                row[i] = likeness(word, self.vocabulary[i])
            spelled = np.zeros(len(self.spelled) + len(self.spelled_tables), np.float32)
            part = stem(word)
            if len(part) >= 3 and word not in STOP_WORDS:
                for i, name in enumerate((*self.spelled, *self.spelled_tables)):
                    if part in name:
                        spelled[i] = len(word if word in name else part) / len(name)
            if len(self._alike) >= _KNOWN_WORDS:
                self._alike.clear()
            known = self._alike[word] = row, spelled
        return known

    def _others(self, word: str) -> list[int]:
        return [self._word_number[w] for w in other_words(word) if w in self._word_number]


def rest_max(values: NDArray[Any], nothing: float = 0.0) -> NDArray[Any]:
    """For each value the largest of the others; `nothing` where there is no other."""
    if len(values) < 2:
        return np.full_like(values, nothing)
    first = int(values.argmax())
    rest = np.full_like(values, values[first])
    rest[first] = max(values[:first].max(initial=-np.inf), values[first + 1 :].max(initial=-np.inf))
    return rest


def rank(values: NDArray[Any]) -> NDArray[Any]:
    """0 for the largest; equal values have the mean of their places."""
    ordered = np.sort(-values)
    below, above = (np.searchsorted(ordered, -values, side) for side in ("left", "right"))
    found: NDArray[Any] = (below + above - 1) / 2
    return found


def max_by_table(view: SchemaView, values_C: NDArray[Any], nothing: float = 0.0) -> NDArray[Any]:
    """The largest value of each table's columns, T; `nothing` where it has none."""
    found = np.full(len(view.tables), nothing, np.float32)
    if len(view.filled):
        found[view.filled] = np.maximum.reduceat(values_C, view.starts[view.filled])
    return found


def second_by_table(view: SchemaView, values_C: NDArray[Any], nothing: float = 0.0) -> NDArray[Any]:
    """The second largest value of each table's columns, T; `nothing` where there is none."""
    ordered = values_C[np.lexsort((values_C, view.table_of))]
    found = np.full(len(view.tables), nothing, np.float32)
    several = view.sizes > 1
    found[several] = ordered[(view.starts + view.sizes - 2)[several]]
    return found


def _heads(padded: Ints, names: list[list[str]]) -> Ints:
    """The number of each name's last word."""
    last = np.array([max(0, len(found) - 1) for found in names], np.int64)
    heads: Ints = padded[np.arange(len(names)), last]
    return heads


def _comment_words(text: str) -> list[str]:
    found = [fold(word) for word in words(text[:2_000])[:_COMMENT_WORDS]]
    return [word for word in found if word not in STOP_WORDS]


def _kind(column: Column) -> int:
    declared = column.type.lower()
    if "bool" in declared or declared == "bit":
        return 4
    if "date" in declared or "time" in declared or "year" in declared:
        return 3
    if "int" in declared:
        return 0
    if any(part in declared for part in ("real", "float", "doub", "num", "dec", "money")):
        return 1
    return 2 if any(part in declared for part in ("char", "text", "clob", "str")) else 5


def _hashed_words(names: list[list[str]]) -> NDArray[np.uint64]:
    """Hashes of the stems of each name, padded with 0."""
    found = np.zeros((len(names), max([1, *map(len, names)])), np.uint64)
    for i, name in enumerate(names):
        for j, word in enumerate(name):
            found[i, j] = hash_word(stem(word))
    return found


def hash_word(word: str) -> int:
    """FNV-1a over UTF-8, 64 bits, never 0: the same on every machine."""
    value = 0xCBF29CE484222325
    for byte in word.encode("utf-8", "surrogatepass"):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value or 1
