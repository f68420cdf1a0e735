"""Training rows, the steps they are learned in, and the micro-batches a step is computed in.

A row is one question: prompt, gold and weighted candidates as token ids. Questions of one database share their schema
prefix, often nine tenths of the prompt, so a step takes its questions from one database where it can and a micro-batch
holds questions of one of them: `forward.py` computes their prefix once. How a micro-batch becomes log-probs is decided there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from exspin.errors import DataError
from exspin.model import encode_answer, encode_prompt
from exspin.presets import Preset
from exspin.records import Example, Pair, Prompt


@dataclass(frozen=True, slots=True)
class Rejected:
    """One candidate that has weight, with what its outcome makes of it in the loss."""

    k: int
    ids: tuple[int, ...]  # with the end token, unless the answer was cut off
    weight: float
    share: float  # of its question's candidates
    r: float
    margin: float


@dataclass(frozen=True, slots=True)
class Row:
    """One question as token ids: prefix + rest + an answer is what the model reads."""

    example_id: str
    prefix: tuple[int, ...]  # shared by the questions of a database; may be empty
    rest: tuple[int, ...]  # never empty: its last token predicts the first of an answer
    gold: tuple[int, ...]  # with the end token
    rejected: tuple[Rejected, ...] = ()

    @property
    def answers(self) -> tuple[tuple[int, ...], ...]:
        """Gold first, then the candidates."""
        return (self.gold, *(each.ids for each in self.rejected))

    @property
    def longest(self) -> int:
        """Tokens of the prompt with the longest answer."""
        return len(self.prefix) + len(self.rest) + max(map(len, self.answers))


@dataclass(frozen=True, slots=True)
class Micro:
    """Rows computed together. With a prefix, they share it; without, every sequence is read in full."""

    prefix: tuple[int, ...]
    rows: tuple[
        int, ...
    ]  # which rows, in the order of `sequences`: each one's gold, then its candidates
    sequences: tuple[
        tuple[int, ...], ...
    ]  # (prefix +) rest + answer, the prefix only where it is not shared
    starts: tuple[int, ...]  # where the answer begins in each sequence


def make_rows(
    tokenizer: PreTrainedTokenizerBase,
    end_id: int,
    examples: Sequence[Example],
    prompts: Sequence[Prompt],
    pairs: Iterable[Pair] = (),
    preset: Preset | None = None,
) -> list[Row]:
    """One row for each prompt, in their order; pairs without weight are left out. Pairs need their preset.

    Raises `DataError` for a pair that has weight although the preset gives its outcome none.
    """
    gold_of = {example.example_id: example.query for example in examples}
    of_example: dict[str, list[Rejected]] = {}
    for pair in pairs:
        if preset is None or pair.weight <= 0:
            continue
        if preset.weight(pair.outcome) == 0:
            raise DataError(
                f"{pair.example_id}: its candidate has weight, which preset {preset.name!r} gives to no "
                f"{pair.outcome}; make the pairs with the preset they are learned with"
            )
        ids = tuple(pair.token_ids) or tuple(encode_answer(tokenizer, pair.candidate))
        if pair.finish_reason == "stop":
            ids += (end_id,)
        if not ids:
            continue  # cut off before its first token: log-prob 0 whatever the weights
        of_example.setdefault(pair.example_id, []).append(
            Rejected(
                k=pair.k,
                ids=ids,
                weight=pair.weight,
                share=pair.weight / preset.weight(pair.outcome),
                r=preset.r(pair.outcome),
                margin=preset.margin(pair.outcome),
            )
        )
    prefixes: dict[str, list[int]] = {}
    rows = []
    for prompt in prompts:
        prefix, rest = _encode(tokenizer, prompt, prefixes)
        gold = (*encode_answer(tokenizer, gold_of[prompt.example_id]), end_id)
        rejected = tuple(of_example.get(prompt.example_id, ()))
        rows.append(Row(prompt.example_id, prefix, rest, gold, rejected))
    return rows


def _encode(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, known: dict[str, list[int]]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Prefix and rest, at least one token in the rest. Many prompts share a prefix text: it is tokenized once."""
    text = prompt.text[: prompt.prefix_chars]
    if text not in known:
        known[text] = encode_prompt(tokenizer, prompt)[0]
    tail = Prompt(prompt.example_id, prompt.db_id, prompt.text[prompt.prefix_chars :], 0)
    prefix, rest = known[text], encode_prompt(tokenizer, tail)[1]
    if not rest:
        prefix, rest = prefix[:-1], prefix[-1:]
    return tuple(prefix), tuple(rest)


def plan_steps(
    rows: Sequence[Row], batch_size: int, epochs: float, seed: int
) -> list[tuple[int, ...]]:
    """The rows of every optimizer step, a function of the arguments alone.

    In each epoch every row comes once. The questions of a database are shuffled and cut into steps of `batch_size`: one
    schema prefix serves a whole step. What is left of the databases is laid end to end and cut into steps of equal size,
    at most `batch_size`. Steps are shuffled; a fraction of an epoch is its first steps,
    one at least.
    """
    databases: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(rows):
        databases.setdefault(row.prefix, []).append(index)
    steps: list[tuple[int, ...]] = []
    for epoch in range(math.ceil(round(epochs, 9))):
        draw = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)))
        of_one, left = [], []
        for members in databases.values():
            order = [members[i] for i in draw.permutation(len(members)).tolist()]
            full = len(order) // batch_size * batch_size
            of_one += [order[at : at + batch_size] for at in range(0, full, batch_size)]
            left.append(order[full:])
        line = [row for i in draw.permutation(len(left)).tolist() for row in left[i]]
        parts = [*of_one, *_cut(line, math.ceil(len(line) / batch_size))]
        count = max(1, round(min(1.0, epochs - epoch) * len(parts)))
        steps += [tuple(parts[i]) for i in draw.permutation(len(parts)).tolist()[:count]]
    return steps


def _cut(items: Sequence[int], parts: int) -> Iterator[Sequence[int]]:
    """Consecutive parts whose sizes differ by at most one."""
    for part in range(parts):
        yield items[len(items) * part // parts : len(items) * (part + 1) // parts]


def micro_batches(
    rows: Sequence[Row], chosen: Iterable[int], *, share: bool, budget: int, alpha: float = 1.0
) -> list[Micro]:
    """Cut some rows into micro-batches of at most `budget` tokens, or of one row that is larger.

    With `share`, rows that have a prefix in common are computed on one copy of it. With `alpha` 0 a row without
    candidates has no part in the loss and is left out.
    """
    kept = [index for index in chosen if alpha > 0 or rows[index].rejected]
    by_prefix: dict[tuple[int, ...], list[int]] = {}
    for index in kept:
        by_prefix.setdefault(rows[index].prefix if share else (), []).append(index)
    alone = by_prefix.pop((), [])
    result: list[Micro] = []
    for prefix, members in by_prefix.items():
        if len(members) == 1 and not rows[members[0]].rejected:
            alone += members  # nothing to share it with
        else:
            result += _fill(rows, members, prefix, budget)
    result += _fill(rows, alone, (), budget)
    return result


# A prefix token costs a row that reads it its keys and values, about a sixth of what a token of its own keeps for the
# backward pass. Counted as if nothing were packed: long answers have a row each.
PREFIX_SHARE = 6


def _fill(
    rows: Sequence[Row], members: Sequence[int], prefix: tuple[int, ...], budget: int
) -> Iterator[Micro]:
    """Micro-batches of rows of like length, so that padding is small where nothing is packed."""
    own = {i: rows[i].longest - len(prefix) for i in members}
    batch: list[int] = []
    sequences = 0
    for index in sorted(members, key=lambda i: (own[i], i)):
        added = len(rows[index].answers)
        # In this order the newest row is the longest: without packing all are padded to it.
        cost = len(prefix) + (sequences + added) * (own[index] + len(prefix) // PREFIX_SHARE)
        if batch and cost > budget:
            yield _micro(rows, batch, prefix)
            batch, sequences = [], 0
        batch.append(index)
        sequences += added
    if batch:
        yield _micro(rows, batch, prefix)


def _micro(rows: Sequence[Row], batch: Sequence[int], prefix: tuple[int, ...]) -> Micro:
    sequences, starts = [], []
    for index in batch:
        row = rows[index]
        head = row.rest if prefix else row.prefix + row.rest
        for answer in row.answers:
            sequences.append(head + answer)
            starts.append(len(head))
    return Micro(prefix, tuple(batch), tuple(sequences), tuple(starts))
