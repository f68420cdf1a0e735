"""A name for the template, from a specimen with every feature in it."""

from __future__ import annotations

from exspin.config import PromptConfig
from exspin.ledger import digest_json
from exspin.prompt import NO_HINTS, render
from exspin.records import Example, Hints
from exspin.sql.schema import Column, ForeignKey, Schema, Table


def signature(config: PromptConfig) -> str:
    """Changes whenever any text or trimming of prompts of this configuration's kind does; for the run's ledger."""
    kind = {"template": "plain", "shots": min(config.shots, 2), "sample_values": 2}
    kind |= {"format": config.format, "schema": config.schema_, "values": config.values}
    prompts = [
        render(
            _EXAMPLE,
            _SCHEMA,
            config=PromptConfig.model_validate({**kind, "max_tokens": characters}),
            count_tokens=len,
            hints=_HINTS if config.hints else NO_HINTS,
        )
        for characters in (
            (1000, 300, 200, 150, 110, 90)
            if not config.hints and config.format == "compact"
            else (3000, 700, 500, 400, 300, 200, 150, 110, 90)
        )
    ]
    return "prompt-" + digest_json([prompt.to_json() for prompt in prompts])[:12]


def _column(name: str, type: str, *samples: str, key: bool = False, values: str = "") -> Column:
    return Column(name, type, f"about {name}", key, not key, samples, values)


_SCHEMA = Schema(
    "specimen",
    (
        Table(
            "group",
            "a keyword",
            (
                _column("Id", "INTEGER", "1", "2", key=True),
                _column("full name", "VARCHAR(20)", "Ann", "Bob"),
            ),
            primary_key=("Id",),
        ),
        Table(
            "event",
            "",
            (
                _column("no", "", "a1", "a2", key=True),
                _column("group_id", "int", "1", key=True),
                _column("price", "real", "1.5", "2.0", values="in euro"),
            ),
            primary_key=("no", "group_id"),
        ),
        Table("seen", "", (_column("day", "date"),), primary_key=(), view=True),
    ),
    (ForeignKey("event", "group_id", "group", "Id"),),
)
_EXAMPLE = Example("specimen/0", 0, "specimen", "How many?", "", evidence="Count all.")
_HINTS = Hints(
    links=(("event", ("price", "group_id")), ("group", ("Id", "full name")), ("seen", ())),
    values=(("group", "full name", "Ann's"), ("event", "price", "1.5"), ("event", "no", "01")),
    shots=(("Who is it?", "SELECT name FROM who"), ("When?", "SELECT  day FROM seen")),
)
