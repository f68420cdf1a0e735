"""Every evaluated question with every round's answer, as the JSON that the page's question browser reads.

SQL repeats a lot between rounds, so strings are kept once in a pool and answers point into it. Questions and SQL are
other people's text: the JSON is escaped so that it cannot end the script element it stands in.
"""

from __future__ import annotations

import json
from typing import Any

from markupsafe import Markup

from exspin.records import Outcome
from exspin.reporting.collect import Answer, RunFiles

_LONGEST = 4000  # characters of one text; a runaway answer must not fill the page
_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


class _Pool:
    """Strings by number, each once."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        if len(text) > _LONGEST:
            text = f"{text[:_LONGEST]} … ({len(text) - _LONGEST:,} more characters)"
        return self.numbers.setdefault(text, len(self.numbers))


def questions_json(run: RunFiles) -> Markup:
    """The text of a `<script type="application/json">`; pure ASCII, safe inside HTML.

    `splits[].questions[]` is [index, db_id, hardness, question, evidence, gold, answers], where all texts are numbers of
    `texts` and an answer is [number in `outcomes`, detail, SQL or else the model's text, 1 for SQL] or null; `answers`
    has one for each of `rounds`.
    """
    pool = _Pool()
    outcomes = list(Outcome)
    rounds = [t for t in run.rounds if t.scores]

    def answer(a: Answer | None) -> list[int] | None:
        if a is None:
            return None
        shown = pool.number(a.sql or a.text)
        return [outcomes.index(a.outcome), pool.number(a.detail), shown, int(bool(a.sql))]

    splits: list[dict[str, Any]] = [
        {
            "name": split,
            "questions": [
                [
                    e.index,
                    *map(pool.number, (e.db_id, e.hardness, e.question, e.evidence, e.query)),
                    [answer(t.answers.get(split, {}).get(e.example_id)) for t in rounds],
                ]
                for e in examples
            ],
        }
        for split, examples in run.splits.items()
    ]
    value = {
        "splits": splits,
        "rounds": [t.number for t in rounds],
        "best": run.best_round,
        "outcomes": [outcome.value for outcome in outcomes],
        "texts": list(pool.numbers),
    }
    return Markup(json.dumps(value, separators=(",", ":")).translate(_ESCAPES))
