"""The only place where prompt text is written.

    table singer (singer_id integer primary key, name text: Joe Sharp | Timbaland, age integer: 52 | 32) -- who sings
    foreign keys: concert.singer_id = singer.singer_id

    tables: singer (name, country)
    values: singer.country = 'France'
    evidence: …
    question: How many French singers do we have?
    sql:

The schema comes first, so all questions of one database share it and its key-value cache, unless `prompt.schema` is `linked`.
Names stand exactly as SQL spells them. What does not fit `max_tokens` is left out in this order, and every step is
recorded in `Prompt.trimmed`:

1. solved questions (`shots`), the least similar first; then the line of linked names;
2. what is said of the meaning of values (`Column.values`; only where documents beside a database say it);
3. sample values: one a column, then none;
4. comments;
5. the cells that the question mentions (`matches`), the least sure first;
6. columns that are no key, from the end of the table that is widest at the time;
7. tables, from the end, with the foreign keys they are part of.

A prompt depends on its own question with its hints, its database, the configuration and the tokenizer alone, never on which
other questions are rendered with it. To keep the schema equal across questions all the same, it is trimmed to leave room
for a question of ordinary length (see `_room`) and further only for a question that is longer and needs it.
Text from a database is untrusted: it is kept on one line, but can still say anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

from exspin.config import PromptConfig
from exspin.errors import DataError, ModelError
from exspin.prompt.asked import column_types, question_text
from exspin.prompt.formats import schema_text
from exspin.prompt.trimming import (
    Step,
    all_steps,
    hints_after,
    key_columns,
    linked_part,
    schema_steps,
    view_of,
)
from exspin.records import Example, Hints, Prompt
from exspin.sql.schema import Schema

CountTokens = Callable[[str], int]
Wrap = Callable[[str], str]
NO_HINTS = Hints()


def render(
    example: Example,
    schema: Schema,
    *,
    config: PromptConfig,
    count_tokens: CountTokens,
    wrap: Wrap | None = None,
    special: Sequence[str] = (),
    hints: Hints = NO_HINTS,
) -> Prompt:
    """The prompt of one question; the same as `render_all` gives it.

    `count_tokens` counts the tokens of a text without special tokens added. `wrap` puts a chat template around the
    user's message. `special` are the texts that the tokenizer reads as special tokens: where the database or the question
    says one, a space breaks it. Of `hints` the text shows what `config` asks for. Raises `DataError` when not even the
    question fits, `ModelError` when the template changes the text.
    """
    return _Renderer(schema, config, count_tokens, wrap, special).render(example, hints)


def render_all(
    examples: Iterable[Example],
    schemas: Mapping[str, Schema],
    config: PromptConfig,
    count_tokens: CountTokens,
    wrap: Wrap | None = None,
    special: Sequence[str] = (),
    hints: Mapping[str, Hints] | None = None,
) -> list[Prompt]:
    """The prompts of many questions, in their order; `schemas` by db_id, `hints` by example_id. Schema text is made and
    counted once."""
    renderers: dict[str, _Renderer] = {}
    prompts = []
    for example in examples:
        if example.db_id not in renderers:
            schema = schemas[example.db_id]
            renderers[example.db_id] = _Renderer(schema, config, count_tokens, wrap, special)
        own = (hints or {}).get(example.example_id, NO_HINTS)
        prompts.append(renderers[example.db_id].render(example, own))
    return prompts


def _room(config: PromptConfig) -> int:
    """Tokens kept free for a question: an eighth, but 64 where that is less; as much for its links, its values and each shot
    as there is; and never more than half."""
    limit = config.max_tokens
    parts = 1 + (config.schema_ == "named") + config.values + config.shots
    return min(max(limit // 8, 64) + (parts - 1) * 64, limit // 2)


class _SchemaText:
    """The text of one schema at each level. Level n is what is shown after the first n steps."""

    def __init__(self, schema: Schema, config: PromptConfig, plain: Callable[[str], str]) -> None:
        self._schema = schema
        self._config = config
        self._plain = plain
        self._keys = key_columns(schema)
        self.steps: tuple[Step, ...] = (
            ()
            if config.schema_ == "none"
            else schema_steps(schema, config.sample_values, self._keys)
        )
        self._blocks: dict[int, str] = {}
        self.ordinary_level: int | None = None  # that leaves room for an ordinary question

    def block(self, level: int) -> str:
        if self._config.schema_ == "none":
            return ""
        if level not in self._blocks:
            steps = self.steps[:level]
            view = view_of(self._schema, self._config.sample_values, self._keys, steps)
            self._blocks[level] = self._plain(schema_text(view, self._config.format))
        return self._blocks[level]


class _Renderer:
    """Renders the questions of one database."""

    def __init__(
        self,
        schema: Schema,
        config: PromptConfig,
        count_tokens: CountTokens,
        wrap: Wrap | None,
        special: Sequence[str],
    ) -> None:
        self._schema = schema
        self._config = config
        self._count = count_tokens
        self._wrap = wrap
        self._special = re.compile("|".join(map(re.escape, special)) or r"(?!)")
        self._types = column_types(schema)
        self._whole = _SchemaText(schema, config, self._plain)
        self._lengths: dict[str, int] = {}  # tokens by prefix text

    def render(self, example: Example, hints: Hints) -> Prompt:
        asked = self._asked_for(hints)
        shown = self._whole
        start = 0
        if self._config.schema_ == "linked" and asked.links:
            shown = _SchemaText(linked_part(self._schema, asked.links), self._config, self._plain)
        else:  # shared with other questions: one level for all, for which the first one lends its frame
            if shown.ordinary_level is None:
                shown.ordinary_level = _first_level(
                    len(shown.steps), lambda n: self._leaves_room(example, shown.block(n))
                )
            start = shown.ordinary_level
        return self._fit(example, asked, shown, start)

    def _asked_for(self, hints: Hints) -> Hints:
        """Of the hints, those that the configuration wants."""
        config = self._config
        return Hints(
            links=hints.links if config.links else (),
            values=hints.values if config.values else (),
            shots=hints.shots[: config.shots],
        )

    def _fit(self, example: Example, hints: Hints, shown: _SchemaText, start: int) -> Prompt:
        """The prompt after as few steps as it takes, with the first `start` of the schema taken already."""
        named = hints if self._config.schema_ == "named" else Hints((), hints.values, hints.shots)
        steps = all_steps(named, shown.steps[start:])

        @cache
        def text_after(count: int) -> tuple[str, str]:
            taken = steps[:count]
            level = start + sum(step.kind in _OF_SCHEMA for step in taken)
            own = question_text(example, hints_after(named, taken), self._types)
            return self._framed(shown.block(level), self._plain(own))

        @cache
        def excess(count: int) -> int:
            # prefix and rest are counted apart, as they are tokenized apart
            prefix, rest = text_after(count)
            return self._prefix_tokens(prefix) + self._count(rest) - self._config.max_tokens

        count = _first_level(len(steps), lambda n: excess(n) <= 0)
        if (over := excess(count)) > 0:
            limit = self._config.max_tokens
            raise DataError(
                f"{example.example_id}: the question alone takes {limit + over} tokens, more than "
                f"prompt.max_tokens = {limit}; raise it or shorten the question"
            )
        prefix, rest = text_after(count)
        left = hints_after(named, steps[:count])
        links = left.links
        if self._config.schema_ == "linked":
            gone = sum(step.kind == "tables" for step in steps[:count])
            links = hints.links[: len(hints.links) - gone]
        return Prompt(
            example.example_id,
            example.db_id,
            prefix + rest,
            len(prefix),
            tuple(map(str, (*shown.steps[:start], *steps[:count]))),
            links=len(links),
            values=len(left.values),
            shots=len(left.shots),
        )

    def _leaves_room(self, example: Example, block: str) -> bool:
        """Whether the schema leaves room for a question of ordinary length."""
        prefix = self._framed(block, self._plain(question_text(example, NO_HINTS, self._types)))[0]
        return self._prefix_tokens(prefix) + _room(self._config) <= self._config.max_tokens

    def _framed(self, block: str, own: str) -> tuple[str, str]:
        """The prompt, cut at the end of the schema."""
        if self._wrap is None:
            return block, own
        whole = self._wrap(block + own)
        start = whole.find(block + own)
        if start < 0:
            raise ModelError(
                "the chat template changes the text of the user's message, so prompts cannot share their schema; "
                "set prompt.template: plain"
            )
        end = start + len(block)
        return whole[:end], whole[end:]

    def _plain(self, text: str) -> str:
        """Text in which the names of special tokens are broken by a space."""
        return self._special.sub(lambda name: f"{name[0][0]} {name[0][1:]}", text)

    def _prefix_tokens(self, prefix: str) -> int:
        if prefix not in self._lengths:
            self._lengths[prefix] = self._count(prefix)
        return self._lengths[prefix]


_OF_SCHEMA = frozenset({"values", "samples", "comments", "columns", "tables"})


def _first_level(last: int, fits: Callable[[int], bool]) -> int:
    """The first level from 0 that fits, else the last one. By bisection: a step shortens the text."""
    if fits(0):
        return 0
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
