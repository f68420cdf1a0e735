"""Divide questions into parts that share neither a question nor a query, always in the same way.

Questions with the same SQL, or the same words, belong together: were they on both sides, a model could answer by heart.
Groups are taken in the order of a digest of their content, so what is decided depends on neither order nor machine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from exspin.ledger import digest_bytes
from exspin.sql.tokens import significant


def divide(rows: Sequence[tuple[str, str]], shares: Sequence[float]) -> list[int]:
    """For each row (question, query) the number of its part: 1, 2, … have these shares of the rows, 0 has the rest.

    A part never gets more than its share, but one group where all are larger than that. A part is left empty only where
    there are not enough groups for all; then the earlier parts have theirs.
    """
    groups = _groups(rows)
    parts = [0] * len(rows)
    for part, share in enumerate(shares, 1):
        room = max(1, round(share * len(rows)))
        taken: list[int] = []  # places in `groups`
        for place, group in enumerate(groups):
            if len(group) <= room:
                taken.append(place)
                room -= len(group)
        if not taken and groups:
            taken = [min(range(len(groups)), key=lambda place: len(groups[place]))]
        if len(taken) == len(groups):  # the rest must not be empty
            taken = taken[:-1]
        for place in taken:
            for row in groups[place]:
                parts[row] = part
        gone = set(taken)
        groups = [group for place, group in enumerate(groups) if place not in gone]
    return parts


def same_sql(query: str) -> str:
    """A query as it counts here: spacing, comments, the case of words and a last semicolon aside."""
    words = [
        token.text.lower() if token.kind == "word" else token.text for token in significant(query)
    ]
    return " ".join(words).rstrip("; ")


def same_question(question: str) -> str:
    """A question as it counts here: case and spacing aside."""
    return " ".join(question.split()).casefold()


def _groups(rows: Sequence[tuple[str, str]]) -> list[list[int]]:
    """Rows that are linked by an equal query or question, directly or through others, in the order of their digest."""
    root = list(range(len(rows)))

    def find(row: int) -> int:
        while root[row] != row:
            root[row] = root[root[row]]
            row = root[row]
        return row

    first: dict[tuple[str, str], int] = {}
    for row, (question, query) in enumerate(rows):
        for key in (("question", same_question(question)), ("query", same_sql(query))):
            root[find(row)] = find(first.setdefault(key, row))
    groups: dict[int, list[int]] = defaultdict(list)
    for row in range(len(rows)):
        groups[find(row)].append(row)

    def digest(group: list[int]) -> str:
        return min(digest_bytes(same_sql(rows[row][1]).encode()) for row in group)

    return sorted(groups.values(), key=digest)
