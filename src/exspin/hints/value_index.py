"""The index of a database's values on disk: built once for each state of the database, mapped into memory, checked.

Two ways lead to a value. *Keys*: the hash of the whole value folded (and of a date in it), so that whatever a question
spells out is found in a few steps however many values there are. *Postings*: for each word the values of several words
that hold it, ranked by BM25, for what a question mentions in part. Both are sorted arrays; a hash is 32 bits and may
collide, since every value found is compared with the question anyway. bm25s ranks the same way but scores every value of
the database for every question, which docs/hints.md measures.

A directory of the cache holds one index: `meta.json`, `texts.bin` and arrays in NumPy's format without pickle. It is made
aside and renamed, under a lock; one that is damaged or of another version is made again.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import shutil
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exspin.errors import DatabaseError, DataError
from exspin.hints.folding import KEY_WORDS, dates, fold, may_hold_date, words
from exspin.ledger import (
    digest_file,
    digest_json,
    read_json,
    sync_directory,
    unwritable,
    write_json,
)
from exspin.progress import Progress, Silent
from exspin.sql.distinct import LONGEST, Unread, ValueReader

VERSION = 1  # of the arrays and of what folding.py makes of a text, since hashes of that are kept
COLUMN_VALUES = 5_000_000  # kept of one column
DATABASE_VALUES = 10_000_000  # kept of all
COUNTED = 1_000_000  # further values of a column are counted up to here
DATABASE_POSTINGS = 40_000_000  # then further values are found as a whole only
_CHUNK = 1_000_000
_MEMO = 500_000  # folded words remembered while an index is built
_MAPPED = 1 << 20  # bytes; a smaller array is read at once, since that is faster to use

_ARRAYS = (
    "offsets",  # (values + 1,) uint64: where each value's text begins in texts.bin; values lie column by column
    "keys",  # (K,) uint32, sorted: hash of a folded value
    "key_values",  # (K,) uint32: whose it is
    "words",  # (W,) uint32, sorted, distinct: hash of a folded word
    "word_starts",  # (W + 1,) int64: where its postings begin
    "postings",  # (P,) uint32: the values that hold it, ascending
    "lengths",  # (values,) uint8: words of each value
)
_K1, _B = 1.5, 0.75  # BM25's constants, as bm25s sets them


@dataclass(frozen=True)
class ColumnCount:
    """What the index has of one column, and what not."""

    table: str
    column: str
    values: int
    long: int = 0  # longer than a question would repeat
    odd: int = 0  # not UTF-8, or with characters that do not print
    over: int = 0  # past the limits: at least so many
    unread: str = ""  # why the column was not read to its end

    def __str__(self) -> str:
        parts = [
            f"{count:,} {what}"
            for count, what in (
                (self.long, f"longer than {LONGEST} characters"),
                (self.odd, "that do not print"),
                (self.over, "past the limit" + (" or more" if self.over >= COUNTED else "")),
            )
            if count
        ]
        if self.unread:
            parts.append(f"the rest unread ({self.unread})")
        return (
            f"{self.table}.{self.column}: {self.values:,} values kept; left out: {', '.join(parts)}"
        )

    @property
    def whole(self) -> bool:
        return not (self.long or self.odd or self.over or self.unread)


def hash_of(text: str) -> int:
    """32 bits of a folded word or key, the same in every process."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


class ValueIndex:
    """A finished index. Lookups touch a few pages of it."""

    def __init__(self, place: Path, meta: dict[str, Any]) -> None:
        self.digest = str(meta["digest"])  # of the database as it was
        self.columns = tuple(ColumnCount(**row) for row in meta["columns"])
        self._ends: NDArray[np.int64] = np.cumsum([c.values for c in self.columns], dtype=np.int64)
        (
            self._offsets,
            self._keys,
            self._key_values,
            self._words,
            self._word_starts,
            self._postings,
            self._lengths,
        ) = (_read_array(place / f"{name}.npy") for name in _ARRAYS)
        self._texts = _read_texts(place / "texts.bin")
        self._ranked = max(1, int(np.count_nonzero(self._lengths > 1)))
        self._mean = float(meta["words"]) / self._ranked

    def __len__(self) -> int:
        return len(self._lengths)

    def text(self, value: int) -> str:
        begin, end = int(self._offsets[value]), int(self._offsets[value + 1])
        return self._texts[begin:end].decode()

    def column(self, value: int) -> int:
        """Which of `columns` a value is in."""
        return int(np.searchsorted(self._ends, value, side="right"))

    def with_keys(self, keys: Sequence[str], most: int) -> Iterator[tuple[int, list[int]]]:
        """For each key that occurs: its position in `keys`, and up to `most` values that may have it."""
        hashes = np.fromiter(map(hash_of, keys), np.uint32, len(keys))
        begins = np.searchsorted(self._keys, hashes, side="left")
        ends = np.searchsorted(self._keys, hashes, side="right")
        for i in np.flatnonzero(ends > begins):
            yield int(i), self._key_values[begins[i] : min(ends[i], begins[i] + most)].tolist()

    def ranked(self, folded: Sequence[str], most: int, budget: int) -> list[int]:
        """Values of several words that share some with a question, the best by BM25 first.

        Rare words come first; a word whose postings would pass `budget` in all is left out, with all that are more
        common: they say little, and there may be millions of them.
        """
        hashes = np.unique(np.fromiter(map(hash_of, folded), np.uint32, len(folded)))
        if not len(self._words):
            return []
        at = np.minimum(np.searchsorted(self._words, hashes), len(self._words) - 1)
        at = at[self._words[at] == hashes]
        begins, ends = self._word_starts[at], self._word_starts[at + 1]
        order = np.argsort(ends - begins, kind="stable")
        spans, weights = [], []
        for i in order:
            count = int(ends[i] - begins[i])
            if count > budget:
                break
            budget -= count
            spans.append(self._postings[begins[i] : ends[i]])
            rarity = math.log(1 + (self._ranked - count + 0.5) / (count + 0.5))
            weights.append(np.full(count, rarity, np.float32))
        if not spans:
            return []
        values = np.concatenate(spans)
        lengths = self._lengths[values] / self._mean
        scores = np.concatenate(weights) * (_K1 + 1) / (1 + _K1 * (1 - _B + _B * lengths))
        distinct, inverse = np.unique(values, return_inverse=True)
        totals = np.bincount(inverse, weights=scores)
        best = np.argsort(-totals, kind="stable")[:most]
        return [int(v) for v in distinct[best]]


def open_index(reader: ValueReader, cache: Path, progress: Progress | None = None) -> ValueIndex:
    """The index of the database as it is now, from the cache or built.

    Raises `RunError` where the cache cannot be written, `DatabaseError` where the database cannot be read.
    """
    progress = progress or Silent()
    digest = reader.digest()
    name = digest_json([VERSION, digest])[:24]
    place = cache / name
    if (found := _load(place, digest)) is not None:
        return found
    try:
        with _locked(cache, name):
            if (found := _load(place, digest)) is not None:  # another process was faster
                return found
            aside = cache / f"{name}.building"
            for left in (
                aside,
                place,
            ):  # of a process that was killed; damaged, or of another version
                if left.exists():
                    shutil.rmtree(left)
            aside.mkdir()
            try:
                build(reader, aside, digest, progress)
                if reader.digest() != digest:
                    raise DatabaseError(
                        f"{name}: the database changed while its values were read; run the same command again"
                    )
                os.replace(aside, place)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
            sync_directory(cache)
    except OSError as error:
        raise unwritable(cache, error) from error
    found = _load(place, digest)
    if found is None:
        raise DataError(
            f"{place}: cannot be read back; the disk may be damaged, choose another cache"
        )
    return found


@contextmanager
def _locked(cache: Path, name: str) -> Iterator[None]:
    """Wait for whoever builds this index. The kernel frees the lock of a process that dies."""
    cache.mkdir(parents=True, exist_ok=True)
    handle = os.open(cache / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _load(place: Path, digest: str) -> ValueIndex | None:
    """The index in a directory; None unless it is there, of this version and database, and whole."""
    try:
        meta = read_json(place / "meta.json")
        if meta["version"] != VERSION or meta["digest"] != digest:
            return None
        if any(digest_file(place / name) != told for name, told in meta["files"].items()):
            return None
        return ValueIndex(place, meta)
    except (OSError, DataError, KeyError, TypeError, ValueError):
        return None  # damaged or not there: it is made from the database again


def _read_array(path: Path) -> NDArray[Any]:
    mapped = path.stat().st_size > _MAPPED
    found: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    return found


def _read_texts(path: Path) -> mmap.mmap | bytes:
    if path.stat().st_size <= _MAPPED:
        return path.read_bytes()
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


# --- building ---------------------------------------------------------------------------------------------------------


class _Pairs:
    """(hash, value) pairs as 64-bit numbers, written to a file as they come and sorted at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._pending = array("Q")
        self.count = 0
        self.add = self._pending.append

    def flush(self) -> None:
        self.count += len(self._pending)
        self._pending.tofile(self._file)
        del self._pending[:]

    def close(self) -> None:
        self._file.close()

    def flush_if_full(self) -> None:
        if len(self._pending) >= _CHUNK:
            self.flush()

    def sorted(self) -> NDArray[np.uint64]:
        self.flush()
        self._file.close()
        pairs = np.fromfile(self._path, np.uint64)
        self._path.unlink()
        pairs.sort()
        return pairs


class _Builder:
    """Takes values column by column. Memory holds one chunk, and at the end one array of pairs being sorted."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.columns: list[ColumnCount] = []
        self.count = 0
        self.many_words = 0  # words of all values of several words
        self._texts = (place / "texts.bin").open("wb")
        self.unranked = 0  # values of several words past the limit of postings
        self._sizes = array("H")  # bytes of each value: 256 characters of four at most
        self._lengths = array("B")
        self._keys = _Pairs(place / "keys.raw")
        self._postings = _Pairs(place / "postings.raw")
        self._folded: dict[str, str] = {}
        self._hashes: dict[str, int] = {}

    def close(self) -> None:
        self._texts.close()
        self._keys.close()
        self._postings.close()

    def add_column(self, reader: ValueReader, table: str, column: str) -> None:
        room = min(COLUMN_VALUES, DATABASE_VALUES - self.count)
        first, long, odd, over, unread = self.count, 0, 0, 0, ""
        last, add = first + room, self._add
        try:
            for text in reader.distinct_values(table, column, room + COUNTED):
                if len(text) > LONGEST:
                    long += 1
                elif not text.isprintable():
                    odd += 1
                elif self.count >= last:
                    over += 1
                elif text:
                    add(text)
        except Unread as error:
            unread = str(error)
        kept = self.count - first
        self.columns.append(ColumnCount(table, column, kept, long, odd, over, unread))

    def _add(self, text: str) -> None:
        """One value. Runs millions of times, so the usual case makes few calls."""
        value = self.count
        self.count = value + 1
        raw = text.encode()
        self._texts.write(raw)
        self._sizes.append(len(raw))
        found = words(text)
        count = len(found)
        self._lengths.append(count if count < 255 else 255)
        if not found:
            return
        folded, hashes = self._folded, self._hashes
        try:
            parts = [folded[word] for word in found]
        except KeyError:
            parts = self._fold(found)
        if count == 1:
            self._keys.add(hashes[parts[0]] << 32 | value)
        else:
            if count <= KEY_WORDS:
                key = "".join(parts).encode("utf-8", "surrogatepass")
                self._keys.add(zlib.crc32(key) << 32 | value)
            self.many_words += count if count < 255 else 255
            if self._postings.count < DATABASE_POSTINGS:
                add = self._postings.add
                for part in set(parts):
                    add(hashes[part] << 32 | value)
            else:
                self.unranked += 1
        dated = (
            3 <= count <= 10 if count > 1 else len(text) == 8
        )  # 1990-11-05 and 5 Nov 1990; 19901105
        if dated and len(text) <= 40 and may_hold_date(text):
            for _, _, key_of_date in dates(text):
                self._keys.add(hash_of(key_of_date) << 32 | value)
        if not value & 1023:
            self._keys.flush_if_full()
            self._postings.flush_if_full()

    def _fold(self, found: list[str]) -> list[str]:
        """Fold all words of one value, and remember them."""
        if len(self._folded) >= _MEMO:
            self._folded.clear()
            self._hashes.clear()
        parts = [fold(word) for word in found]
        self._folded.update(zip(found, parts, strict=True))
        for part in parts:
            self._hashes[part] = hash_of(part)
        return parts

    def finish(self) -> None:
        self._texts.close()
        self._folded.clear()
        self._hashes.clear()
        offsets = np.zeros(self.count + 1, np.uint64)
        np.cumsum(np.frombuffer(self._sizes, np.uint16), out=offsets[1:])
        self._save("offsets", offsets)
        self._save("lengths", np.frombuffer(self._lengths, np.uint8))
        pairs = self._keys.sorted()
        self._save("keys", (pairs >> np.uint64(32)).astype(np.uint32))
        self._save("key_values", pairs.astype(np.uint32))
        pairs = self._postings.sorted()
        self._save("postings", pairs.astype(np.uint32))
        pairs >>= np.uint64(32)
        starts = np.flatnonzero(np.diff(pairs, prepend=pairs[:1] + np.uint64(1)))
        self._save("words", pairs[starts].astype(np.uint32))
        self._save("word_starts", np.append(starts, len(pairs)))

    def _save(self, name: str, values: NDArray[Any]) -> None:
        np.save(self.place / f"{name}.npy", values, allow_pickle=False)


def build(reader: ValueReader, place: Path, digest: str, progress: Progress) -> None:
    """Write the index of all values into an empty directory, and to `progress` what was left out."""
    with closing(_Builder(place)) as builder:
        columns = reader.columns()
        with progress.bar("values", len(columns)) as advance:
            for table, column in columns:
                builder.add_column(reader, table, column)
                advance(1)
        builder.finish()
    files = ["texts.bin", *(f"{name}.npy" for name in _ARRAYS)]
    for name in files:
        with (place / name).open("rb") as file:
            os.fsync(file.fileno())
    meta = {
        "version": VERSION,
        "digest": digest,
        "words": builder.many_words,
        "columns": [asdict(column) for column in builder.columns],
        "files": {name: digest_file(place / name) for name in files},
    }
    write_json(place / "meta.json", meta)
    for count in builder.columns:
        if not count.whole:
            progress.say(str(count))
    if builder.unranked:
        progress.say(f"{builder.unranked:,} values of several words are found as a whole only")
