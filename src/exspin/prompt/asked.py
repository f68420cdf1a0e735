"""A question's own part of the prompt: solved questions like it, the names and cells it is about, evidence, the question.

question: How many heads of state are older than 56?
sql: SELECT count(*) FROM head WHERE age > 56

tables: singer (country, singer_id)
values: singer.country = 'France'
evidence: …
question: How many French singers are there?
sql:
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from exspin.prompt.formats import CONTROL, name_text
from exspin.records import Example, Hints
from exspin.sql.schema import Schema, one_line

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
_NUMERIC = re.compile(r"int|real|num|dec|doub|float|serial", re.IGNORECASE)


def question_text(example: Example, hints: Hints, types: Mapping[tuple[str, str], str]) -> str:
    """The text; `types` by (table, column) say whether a value is written as a number."""
    # the most similar one last, beside the question
    text = "".join(
        f"question: {one_line(question)}\nsql: {one_line(query)}\n\n"
        for question, query in reversed(hints.shots)
    )
    if hints.links:
        tables = (
            name_text(table) + (f" ({', '.join(map(name_text, columns))})" if columns else "")
            for table, columns in hints.links
        )
        text += f"tables: {', '.join(tables)}\n"
    if hints.values:
        cells = (
            f"{name_text(table)}.{name_text(column)} = {_literal(value, types.get((table, column), ''))}"
            for table, column, value in hints.values
        )
        text += f"values: {', '.join(cells)}\n"
    if evidence := one_line(example.evidence):
        text += f"evidence: {evidence}\n"
    return text + f"question: {one_line(example.question)}\nsql:"


def column_types(schema: Schema) -> dict[tuple[str, str], str]:
    """By (table, column), the declared type."""
    return {(t.name, c.name): c.type for t in schema.tables for c in t.columns}


def _literal(value: str, type: str) -> str:
    """A cell as SQL writes it. Spaces stay, since they are part of the value."""
    if _NUMBER.fullmatch(value) and _NUMERIC.search(type):
        return value
    return "'" + CONTROL.sub(" ", value).replace("'", "''") + "'"
