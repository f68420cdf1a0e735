"""What can be asked of a row set: the templates of the built-in questions.

A template is a form of question (`ASKS`) over a kind of row set; each gives a `Query` and the slots of its frames
(`frames.yaml`). By convention, as in Spider, "which doctors …" and "list the doctors …" ask for the column that names
a row, a value per group is shown beside its group, and groups without rows are left out unless the question
names them.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from exspin.data.builtin.grammar import ask_groups, ask_rows, wording
from exspin.data.builtin.grammar.slots import Asked
from exspin.data.builtin.grammar.speaker import Speaker, Unsuitable
from exspin.data.builtin.meaning import Query, Schema
from exspin.data.builtin.phrasebook import Phrasebook

FRAMES: dict[str, list[str]] = yaml.safe_load(
    (Path(__file__).parent / "frames.yaml").read_text("utf-8")
)


@dataclass(frozen=True, slots=True)
class Draft:
    """One question and what it means."""

    template: str
    question: str
    query: Query


def draw(book: Phrasebook, schema: Schema, ask: str, kind: str, shape: int, voice: int) -> Draft:
    """One question: `shape` fixes what is asked, `voice` the values and the words. Raises `Unsuitable`."""
    speaker = Speaker(book, schema, random.Random(f"{shape}/{ask}/{kind}"), random.Random(voice))
    frames, slots, query = ASKS[ask](speaker, kind)
    fitting = [f for f in FRAMES[frames] if _slots_of(f) <= slots.keys()]
    if not fitting:
        raise Unsuitable
    sentence = wording.fill(speaker.voice.choice(fitting), slots, speaker.voice)
    return Draft(f"{ask}/{kind}", wording.finish(sentence, speaker.voice), query)


def _slots_of(frame: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(frame) if name}


Ask = Callable[[Speaker, str], Asked]
ASKS: dict[str, Ask] = {
    "list1": lambda s, kind: ask_rows.ask_list(s, kind, 1),
    "list2": lambda s, kind: ask_rows.ask_list(s, kind, 2),
    "list3": lambda s, kind: ask_rows.ask_list(s, kind, 3),
    "lookup": ask_rows.ask_lookup,
    "join": ask_rows.ask_join,
    "sorted": ask_rows.ask_sorted,
    "count": ask_rows.ask_count,
    "aggregate": lambda s, kind: ask_rows.ask_aggregate(s, kind, 1),
    "aggregate2": lambda s, kind: ask_rows.ask_aggregate(s, kind, 2),
    "spread": ask_rows.ask_spread,
    "distinct": lambda s, kind: ask_rows.ask_distinct(s, kind, count=False),
    "count_distinct": lambda s, kind: ask_rows.ask_distinct(s, kind, count=True),
    "superlative": ask_rows.ask_superlative,
    "top_k": ask_rows.ask_top_k,
    "parent_of_top": ask_rows.ask_parent_of_top,
    "group_count": ask_groups.ask_group_count,
    "group_aggregate": ask_groups.ask_group_aggregate,
    "group_having": ask_groups.ask_group_having,
    "group_having_aggregate": ask_groups.ask_group_having_aggregate,
    "group_most": ask_groups.ask_group_most,
    "group_top_aggregate": ask_groups.ask_group_top_aggregate,
    "group_best": ask_groups.ask_group_best,
    "group_two": ask_groups.ask_group_two,
    "by_year": ask_groups.ask_by_year,
    "parent_count": ask_groups.ask_parent_count,
    "parent_count_all": ask_groups.ask_parent_count_all,
    "parent_aggregate": ask_groups.ask_parent_aggregate,
    "parent_having": ask_groups.ask_parent_having,
    "parent_most": ask_groups.ask_parent_most,
    "parent_most_columns": lambda s, kind: ask_groups.ask_parent_most(s, kind, columns=True),
    "parent_top_k": ask_groups.ask_parent_top_k,
    "parent_top_aggregate": ask_groups.ask_parent_top_aggregate,
}

# How often a form of question is asked over each kind of row set. A pair that is not here is not asked.
_WHO = ("all", "local", "two", "either", "related", "mixed", "compared", "compared+")
_WEIGHTS = {
    #                        all local two either related mixed compared compared+
    "list1":                  (2, 8, 4, 3, 9, 6, 4, 3),
    "list2":                  (2, 5, 3, 1, 4, 3, 1, 1),
    "list3":                  (2, 3, 1, 0, 1, 1, 0, 0),
    "lookup":                 (6, 0, 0, 0, 0, 0, 0, 0),
    "join":                   (2, 4, 1, 0, 1, 1, 1, 0),
    "sorted":                 (3, 4, 1, 0, 1, 1, 0, 0),
    "count":                  (1, 8, 4, 3, 8, 6, 3, 2),
    "aggregate":              (4, 6, 1, 1, 4, 2, 0, 0),
    "aggregate2":             (2, 3, 0, 0, 1, 1, 0, 0),
    "spread":                 (1, 1, 0, 0, 1, 0, 0, 0),
    "distinct":               (2, 4, 1, 0, 2, 1, 1, 0),
    "count_distinct":         (1, 2, 1, 0, 1, 0, 0, 0),
    "superlative":            (6, 6, 1, 0, 2, 1, 0, 0),
    "top_k":                  (4, 4, 1, 0, 1, 1, 0, 0),
    "parent_of_top":          (3, 2, 0, 0, 0, 0, 0, 0),
    "group_count":            (4, 4, 1, 0, 2, 1, 1, 0),
    "group_aggregate":        (5, 3, 1, 0, 1, 0, 0, 0),
    "group_having":           (3, 2, 0, 0, 1, 0, 0, 0),
    "group_having_aggregate": (2, 1, 0, 0, 0, 0, 0, 0),
    "group_most":             (3, 3, 1, 0, 1, 0, 0, 0),
    "group_top_aggregate":    (2, 2, 0, 0, 0, 0, 0, 0),
    "group_best":             (4, 0, 0, 0, 0, 0, 0, 0),
    "group_two":              (4, 4, 0, 0, 0, 0, 0, 0),
    "by_year":                (2, 2, 0, 0, 0, 0, 0, 0),
    "parent_count":           (4, 4, 1, 0, 1, 0, 0, 0),
    "parent_count_all":       (3, 0, 0, 0, 0, 0, 0, 0),
    "parent_aggregate":       (4, 2, 0, 0, 0, 0, 0, 0),
    "parent_having":          (2, 4, 0, 0, 1, 0, 0, 0),
    "parent_most":            (4, 4, 1, 0, 1, 0, 0, 0),
    "parent_most_columns":    (3, 2, 0, 0, 0, 0, 0, 0),
    "parent_top_k":           (2, 2, 0, 0, 0, 0, 0, 0),
    "parent_top_aggregate":   (3, 2, 0, 0, 0, 0, 0, 0),
}  # fmt: skip
TEMPLATES: dict[tuple[str, str], int] = {
    (ask, kind): weight
    for ask, weights in _WEIGHTS.items()
    for kind, weight in zip(_WHO, weights, strict=True)
    if weight
}
