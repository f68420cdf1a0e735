"""Choosing tokens that keep an answer inside its schema: exactly the model's own choice among those that may stand."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exspin.generate.guided import GuidedAnswers, Pieces, more_draws, pick
from exspin.records import Database
from exspin.sql.guide import Guide
from exspin.sql.schema import read_schema

TOKENS = ["<end>", "SELECT", " name", " age", " nope", " FROM", " pet", "", "'", "\u20ac"]
END, NAME, AGE, NOPE, FROM, EMPTY = 0, 2, 3, 4, 5, 7
FIRST, SECOND = len(TOKENS), len(TOKENS) + 1  # the euro sign's bytes in two tokens


def decode(ids: Sequence[int]) -> str:
    """Token by token; the two halves of a character are one only together."""
    text, before = "", 0
    for token in ids:
        if token == SECOND and before == FIRST:
            text = text[:-1] + "\u20ac"
        else:
            text += "\ufffd" if token >= len(TOKENS) else "" if token == END else TOKENS[token]
        before = token
    return text


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Guide:
    path = tmp_path_factory.mktemp("guided") / "pets.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE pet (pet_id INTEGER, name TEXT, age INTEGER)")
    connection.close()
    return Guide(read_schema(Database.sqlite("pets", path), 0))


def begun(
    guide: Guide, *tokens: int, temperature: float = 0.0, top_p: float = 1.0
) -> GuidedAnswers:
    """One answer that so far has these tokens."""
    pieces = Pieces(decode, [END])
    answers = GuidedAnswers([guide], pieces, END, temperature=temperature, top_p=top_p)
    for token in tokens:
        assert answers.choose(0, token, lambda: pytest.fail("asked for another"), 0.5) == token
    return answers


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
def test_the_choice_has_the_models_distribution_over_what_may_stand(
    guide: Guide, temperature: float
) -> None:
    """Over an even grid of draws each token comes as often as its probability among those that may stand."""
    logits = np.linspace(0.3, 2.0, len(TOKENS) + 2)[::-1].copy()
    logits[NOPE] = 3.0  # the model's favourite is invented
    may_stand = [
        t for t, piece in enumerate(TOKENS) if t and piece and guide.allows("SELECT" + piece)
    ]
    assert {NAME, AGE} <= set(may_stand) and not {NOPE, FROM} & set(may_stand)
    wanted = np.zeros(len(logits))
    wanted[may_stand] = np.exp(logits[may_stand] / temperature)
    wanted /= wanted.sum()
    count, grid = np.zeros(len(logits)), 8000
    for draw in (np.arange(grid) + 0.5) / grid:
        first = pick(logits, draw, temperature, 1.0)
        answers = begun(guide, 1, temperature=temperature)
        count[answers.choose(0, first, lambda: logits, draw)] += 1
    assert set(np.flatnonzero(count)) == set(may_stand)
    assert np.abs(count / grid - wanted).max() < 0.015


def test_the_nucleus_is_taken_anew_from_what_is_left(guide: Guide) -> None:
    logits = np.full(len(TOKENS) + 2, -5.0)
    logits[[NOPE, NAME, AGE]] = 4.0, 2.0, 1.0
    chosen = set()
    for draw in np.linspace(0, 0.999, 50):
        first = pick(logits, draw, 1.0, 0.5)
        assert first == NOPE
        chosen.add(
            begun(guide, 1, temperature=1.0, top_p=0.5).choose(0, first, lambda: logits, draw)
        )
    assert chosen == {NAME}  # holds more than half of what is left


def test_greedy_takes_the_most_probable_that_may_stand(guide: Guide) -> None:
    logits = np.zeros(len(TOKENS) + 2)
    logits[[EMPTY, NOPE, FROM, AGE, NAME]] = 9.0, 8.0, 7.0, 6.0, 5.0
    before = logits.copy()
    assert begun(guide, 1).choose(0, EMPTY, lambda: logits, 0.5) == AGE
    assert (logits == before).all()


def test_the_model_is_only_asked_again_where_its_token_may_not_stand(guide: Guide) -> None:
    answers = begun(guide, 1, NAME, FROM, 6, END)
    assert answers.released == 0


def test_the_end_only_comes_where_a_query_is_whole(guide: Guide) -> None:
    logits = np.zeros(len(TOKENS) + 2)
    logits[FROM] = 1.0
    assert begun(guide, 1, NAME).choose(0, END, lambda: logits, 0.5) == FROM
    assert begun(guide, 1, NAME, FROM, 6).choose(0, END, lambda: pytest.fail("asked"), 0.5) == END


def test_a_character_in_two_tokens_is_read_when_it_is_whole() -> None:
    asked: list[str] = []

    class Listening:
        def allows(self, text: str) -> bool:
            asked.append(text)
            return True

    listening: Any = Listening()
    begun(listening, 1, FIRST, SECOND, NAME)
    assert asked[-1] == "SELECT\u20ac name"


class Nothing:
    """A guide that allows nothing."""

    def allows(self, text: str) -> bool:
        return False

    complete = allows


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_where_nothing_may_stand_the_answer_is_released_and_counted(temperature: float) -> None:
    nothing: Any = Nothing()
    answers = begun(nothing, temperature=temperature)
    assert answers.choose(0, NOPE, lambda: np.zeros(len(TOKENS)), 0.5) == NOPE
    assert answers.released == 1
    assert answers.choose(0, END, lambda: pytest.fail("asked"), 0.5) == END
    assert answers.released == 1


def test_further_draws_belong_to_the_first() -> None:
    draws = [more_draws(draw, 50) for draw in (0.0, 0.35, np.nextafter(1.0, 0.0))]
    assert draws[1] == more_draws(0.35, 50)
    assert len({number for numbers in draws for number in numbers}) == 150
    assert all(0 <= number < 1 for numbers in draws for number in numbers)


@pytest.mark.parametrize("draw", [0.0, 0.1, 0.35, 0.6, 0.999999, np.nextafter(1.0, 0.0)])
def test_the_draw_falls_into_one_of_three_equal_tokens(draw: float) -> None:
    assert pick(np.zeros(3), draw, 1.0, 1.0) == int(draw * 3)


def test_struck_tokens_are_never_picked() -> None:
    logits = np.array([-np.inf, 0.0, -np.inf])
    assert {pick(logits, draw, 1.0, 1.0) for draw in (0.0, 0.5, np.nextafter(1.0, 0.0))} == {1}


def test_pieces_keep_the_space_that_a_tokenizer_drops_from_a_texts_first_token() -> None:
    pieces = Pieces(lambda ids: decode(ids).removeprefix(" "), [END])
    assert (pieces.text(NAME), pieces.text(END), pieces.text(EMPTY)) == (" name", "", "")
    assert (pieces.beginning(NAME), pieces.beginning(1), pieces.beginning(EMPTY)) == (" n", "S", "")


# --- with a model ------------------------------------------------------------------------------------------------------

DDL = {
    "concert": "CREATE TABLE singer (singer_id integer, name text, age integer)",
    "pets": "CREATE TABLE pet (pet_id integer, kind text); CREATE TABLE owner (owner_id integer, name text)",
    "flights": "CREATE TABLE flight (flight_no integer, airport text, seats integer, price real)",
}


@pytest.fixture(scope="module")
def guides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Guide]:
    folder: Path = tmp_path_factory.mktemp("databases")
    made = {}
    for name, ddl in DDL.items():
        connection = sqlite3.connect(folder / f"{name}.sqlite")
        connection.executescript(ddl)
        connection.close()
        made[name] = Guide(read_schema(Database.sqlite(name, folder / f"{name}.sqlite"), 0))
    return made


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (0.8, 1.0), (0.8, 0.9)])
def test_a_random_model_is_held_whatever_its_neighbours(
    temperature: float,
    top_p: float,
    architecture: Callable[..., Any],
    prompts: Any,
    guides: dict[str, Guide],
) -> None:
    from exspin.generate import Decoding
    from exspin.generate.hf import HfSampler

    policy = architecture("llama")
    decoding = Decoding(temperature, top_p, max_new_tokens=14, batch_size=12, seed=3)
    sampler = HfSampler(policy, decoding, guides)
    found = sampler.sample(prompts, k=2, round_number=1)
    databases = {prompt.example_id: prompt.db_id for prompt in prompts}
    for candidate in found:
        guide = guides[databases[candidate.example_id]]
        for end in range(1, len(candidate.token_ids) + 1):
            text = policy.tokenizer.decode(candidate.token_ids[:end])
            assert guide.allows(text) or "\ufffd" in text, text
        if candidate.finish_reason == "stop":
            assert guide.complete(candidate.text)
    assert sampler.released == 0
    assert HfSampler(policy, decoding).sample(prompts, k=2, round_number=1) != found

    # In smaller batches, and from the middle on, as a resumed run asks for them.
    small = HfSampler(policy, replace(decoding, batch_size=3), guides)
    assert [c.text for c in small.sample(prompts[6:], k=2, round_number=1)] == [
        c.text for c in found[12:]
    ]


def test_the_sampler_counts_what_it_could_not_hold(
    architecture: Callable[..., Any], prompts: Any
) -> None:
    from exspin.generate import Decoding
    from exspin.generate.hf import HfSampler

    policy = architecture("llama")
    decoding = Decoding(0.0, 1.0, max_new_tokens=6, batch_size=5, seed=0)
    nothing: Any = dict.fromkeys(DDL, Nothing())
    sampler = HfSampler(policy, decoding, nothing)
    free = HfSampler(policy, decoding).sample(prompts, k=1, round_number=1)
    assert sampler.sample(prompts, k=1, round_number=1) == free  # released at once, so as before
    assert sampler.released == len(prompts)
