"""Questions that stand twice: in one split (duplicates) or in two (leaks), exactly or nearly.

Questions are compared without case and punctuation. Equal ones are found by hashing; near ones by the prefix filter of
`exspin.data.splits.find_near_duplicates` over distinct questions. Neither compares all pairs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from exspin.data.splits import find_near_duplicates
from exspin.records import Example, Flat
from exspin.sql.tokens import significant

Kind = Literal["question+db", "question", "near"]


@dataclass(frozen=True, slots=True)
class Duplicate(Flat):
    """A question that stands before in its split, for the same database."""

    example_id: str
    split: str
    db_id: str
    of: str  # example_id of the first
    same_gold: bool  # else the two golds are written differently: one may be wrong
    question: str
    query: str
    of_query: str


@dataclass(frozen=True, slots=True)
class Leak(Flat):
    """A question of a split that stands in a split named before it; `of` is the most similar one there."""

    example_id: str
    split: str
    db_id: str
    of: str
    of_split: str
    kind: Kind  # same question of the same database; same question; nearly the same
    similarity: float  # Jaccard of word trigrams; 1 for equal ones
    question: str
    of_question: str
    wordings: tuple[str, ...]  # every one before that this row repeats, `plain`

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "wordings"}


def find_repeats(
    splits: Sequence[tuple[str, Sequence[Example]]], near: float
) -> tuple[list[Duplicate], list[Leak]]:
    """Duplicates within each split, and the rows of each split that a split before it holds, one entry a row.

    `near` is the similarity above which two questions are near duplicates; 1 finds equal ones only.
    """
    duplicates: list[Duplicate] = []
    leaks: list[Leak] = []
    before: dict[str, list[tuple[str, Example]]] = {}  # question → where it stands in splits before
    for name, examples in splits:
        here: dict[tuple[str, str], Example] = {}
        questions: dict[str, list[Example]] = {}
        for example in examples:
            question = plain(example.question)
            questions.setdefault(question, []).append(example)
            first = here.setdefault((question, example.db_id), example)
            if first is not example:
                duplicates.append(
                    Duplicate(
                        example.example_id,
                        name,
                        example.db_id,
                        first.example_id,
                        _gold(example) == _gold(first),
                        example.question,
                        example.query,
                        first.query,
                    )
                )
        place = {example.example_id: i for i, example in enumerate(examples)}
        found_here = _leaks(name, questions, before, near)
        leaks += sorted(found_here, key=lambda leak: place[leak.example_id])
        for question, asked in questions.items():
            before.setdefault(question, []).extend((name, example) for example in asked)
    return duplicates, leaks


def _leaks(
    name: str,
    questions: dict[str, list[Example]],
    before: dict[str, list[tuple[str, Example]]],
    near: float,
) -> list[Leak]:
    leaks = []
    fresh = []  # questions that stand nowhere before as they are
    for question, examples in questions.items():
        if question not in before:
            fresh.append(question)
            continue
        for example in examples:
            sources = before[question]
            same = [source for source in sources if source[1].db_id == example.db_id]
            kind: Kind = "question+db" if same else "question"
            leaks.append(_leak(name, example, (same or sources)[0], kind, 1.0, (question,)))
    if near >= 1 or not before:
        return leaks
    known = list(before)
    close: dict[int, list[tuple[float, int]]] = {}
    for pair in find_near_duplicates(fresh, known, near):
        close.setdefault(pair.a, []).append((pair.similarity, -pair.b))
    for place, found in close.items():
        # of equally similar ones the first, so that the report does not depend on the order of a set
        similarity, at = max(found)
        source = before[known[-at]][0]
        wordings = tuple(known[-at] for _, at in found)
        leaks += [
            _leak(name, example, source, "near", round(similarity, 4), wordings)
            for example in questions[fresh[place]]
        ]
    return leaks


def _leak(
    name: str,
    example: Example,
    source: tuple[str, Example],
    kind: Kind,
    similarity: float,
    wordings: tuple[str, ...],
) -> Leak:
    return Leak(
        example.example_id,
        name,
        example.db_id,
        source[1].example_id,
        source[0],
        kind,
        similarity,
        example.question,
        source[1].question,
        wordings,
    )


_WORD = re.compile(r"\w+")


def plain(question: str) -> str:
    """A question as it is compared: its words, without case and punctuation."""
    return " ".join(_WORD.findall(question.lower()))


def _gold(example: Example) -> str:
    """The query as its tokens, so that spaces and letter case of words make no difference."""
    return " ".join(token.keyword or token.text for token in significant(example.query)).rstrip(
        "; "
    )
