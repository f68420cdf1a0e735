"""Splits: what one is, a small part of one, and whether two of them overlap.

Near-duplicates are found by word trigrams (Jaccard), which sees copied and lightly edited questions; it does not see a
paraphrase in other words.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from exspin.data.descriptions import Descriptions
from exspin.errors import DataError
from exspin.ledger import digest_bytes
from exspin.records import Database, Example


@dataclass(frozen=True)
class Split:
    """All questions of a split in file order, also those whose database is missing."""

    spec: str
    name: str
    examples: tuple[Example, ...]
    databases: Mapping[str, Database]  # those that are there and pass as SQLite files
    missing: Mapping[str, int]  # db_id of a database that is not there → number of its questions
    quarantined: Mapping[str, str] = field(default_factory=dict)  # example_id → why
    descriptions: Mapping[str, Descriptions] = field(default_factory=dict)  # by db_id
    warnings: tuple[str, ...] = ()  # one line each: see `remarks`

    def usable(self) -> tuple[Example, ...]:
        """The questions whose database is there and whose gold is not quarantined."""
        return tuple(
            e
            for e in self.examples
            if e.db_id in self.databases and e.example_id not in self.quarantined
        )


def joined(splits: Sequence[Split]) -> Split:
    """Several splits of one SPEC as one, in the order given; `index` counts on. Raises `DataError` where they overlap."""
    examples: list[Example] = []
    seen: dict[str, str] = {}
    missing: Counter[str] = Counter()
    for split in splits:
        for example in split.examples:
            if other := seen.get(example.example_id):
                raise DataError(
                    f"{split.spec}: {other!r} and {split.name!r} share {example.example_id}; name one of them"
                )
            seen[example.example_id] = split.name
            examples.append(replace(example, index=len(examples)))
        missing.update(split.missing)
    questions = Counter(question_key(example) for example in examples)
    within = sum(len({question_key(e) for e in split.examples}) for split in splits)
    warnings = [warning for split in splits for warning in split.warnings]
    name = ",".join(split.name for split in splits)
    if twice := within - len(questions):
        warnings.append(
            f"{splits[0].spec} {name}: {twice} questions stand in more than one of them"
        )
    return Split(
        splits[0].spec,
        name,
        tuple(examples),
        {name: database for split in splits for name, database in split.databases.items()},
        dict(missing),
        quarantined={row: why for split in splits for row, why in split.quarantined.items()},
        descriptions={name: text for each in splits for name, text in each.descriptions.items()},
        warnings=tuple(dict.fromkeys(warnings)),
    )


def question_key(example: Example) -> tuple[str, str]:
    """What makes two questions the same one: the database and the words, case and spacing aside."""
    return example.db_id, " ".join(example.question.split()).casefold()


def remarks(split: Split) -> tuple[str, ...]:
    """Everything to be said wherever numbers of this split are shown, one line each: databases that are missing, rows in
    quarantine, warnings.
    """
    said = (_describe_missing(split), _describe_quarantined(split))
    return (*(line for line in said if line), *split.warnings)


def _describe_missing(split: Split) -> str | None:
    """One line on the missing databases, to be shown wherever numbers of this split are; None if all are there."""
    if not split.missing:
        return None
    questions = sum(split.missing.values())
    total = len(split.missing) + len(split.databases)
    names = ", ".join(f"{name} ({count})" for name, count in sorted(split.missing.items()))
    return (
        f"{split.spec} {split.name}: {len(split.missing)} of {total} databases missing: {names}; "
        f"{questions} of {len(split.examples)} questions cannot be executed and count as gold_unusable"
        + ("" if split.databases else "; none can be judged")
    )


def _describe_quarantined(split: Split) -> str | None:
    """One line on the quarantined rows, to be shown like the missing databases; None if there are none."""
    if not split.quarantined:
        return None
    reasons = Counter(split.quarantined.values())
    listed = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
    return (
        f"{split.spec} {split.name}: {len(split.quarantined)} of {len(split.examples)} questions are quarantined "
        f"({listed}); they are not trained on and count as gold_unusable"
    )


def select_questions(
    split: Split, *, questions: int | None, databases: int | None, seed: int
) -> tuple[Example, ...]:
    """A part of a split for a small run: so many questions, spread evenly over so many databases.

    Only usable questions are taken; None, or more than there are, means all. Which ones depends on the seed and the
    names alone, so a larger selection contains the databases of a smaller one. The result is in file order.
    """

    def shuffled(text: str) -> str:
        return digest_bytes(f"{seed}/{text}".encode())

    by_database: dict[str, list[Example]] = defaultdict(list)
    for example in split.usable():
        by_database[example.db_id].append(example)
    chosen = sorted(by_database, key=shuffled)[:databases]
    queues = [sorted(by_database[name], key=lambda e: shuffled(e.example_id)) for name in chosen]
    # Round-robin: the first question of every database, then the second of every database that has one, …
    turns = [e for turn in zip_longest(*queues) for e in turn if e is not None]
    return tuple(sorted(turns[:questions], key=lambda e: e.index))


def word_trigrams(text: str) -> frozenset[str]:
    """The runs of three words of a text, case and punctuation aside; a shorter text is one run."""
    words = _WORD.findall(text.lower())
    if len(words) < 3:
        return frozenset({" ".join(words)})
    return frozenset(" ".join(words[i : i + 3]) for i in range(len(words) - 2))


_WORD = re.compile(r"\w+")


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Shared share of two sets: |a ∩ b| / |a ∪ b|; 1 for two empty sets."""
    union = len(a | b)
    return len(a & b) / union if union else 1.0


@dataclass(frozen=True, order=True)
class NearDuplicate:
    """Text `a` of the first list and text `b` of the second (0-based) share this much of their trigrams."""

    a: int
    b: int
    similarity: float


def find_near_duplicates(
    a: Iterable[str], b: Iterable[str] | None, threshold: float
) -> list[NearDuplicate]:
    """Every pair whose trigram Jaccard is *above* the threshold; `b` None: pairs within `a`, each once.

    Exact, without comparing all pairs: with every set sorted from rare to common trigrams, two sets of Jaccard above t
    share one of their first n − ⌊t·n⌋ (the prefix filter of set-similarity joins, Bayardo et al. 2007).
    """
    left = [word_trigrams(text) for text in a]
    right = left if b is None else [word_trigrams(text) for text in b]
    counts = Counter(gram for grams in (*left, *right) for gram in grams)

    def rare_first(grams: frozenset[str]) -> list[str]:
        kept = len(grams) - math.floor(threshold * len(grams) - 1e-9)  # rounding must not lose one
        return sorted(grams, key=lambda gram: (counts[gram], gram))[:kept]

    index: dict[str, list[int]] = defaultdict(list)
    for j, grams in enumerate(right):
        for gram in rare_first(grams):
            index[gram].append(j)
    found = []
    for i, grams in enumerate(left):
        for j in sorted({j for gram in rare_first(grams) for j in index.get(gram, ())}):
            if b is None and j <= i:
                continue
            similarity = jaccard(grams, right[j])
            if similarity > threshold:
                found.append(NearDuplicate(i, j, similarity))
    return found
