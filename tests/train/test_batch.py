"""Rows, steps and micro-batches: what is learned, in which order, and with whom."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from hypothesis import given
from hypothesis import strategies as st

from exspin.model import encode_answer, encode_prompt
from exspin.presets import preset
from exspin.records import Prompt
from exspin.train.batch import Rejected, Row, make_rows, micro_batches, plan_steps

pytestmark = pytest.mark.train


def row(number, database=0, answers=1, length=5):
    rejected = tuple(Rejected(k, (7,) * length, 1.0, 1.0, 1.0, 0.0) for k in range(answers - 1))
    return Row(f"t/{number}", (database,) * 20, (3,) * 4, (5,) * length, rejected)


def test_a_row_is_the_prompt_as_generation_reads_it_and_gold_with_its_end(world):
    policy = world.policy()
    rows = make_rows(policy.tokenizer, policy.end_id, world.examples, world.prompts)
    for found, example, prompt in zip(rows, world.examples, world.prompts, strict=True):
        prefix, rest = encode_prompt(policy.tokenizer, prompt)
        assert (list(found.prefix), list(found.rest)) == (prefix, rest)
        gold = encode_answer(policy.tokenizer, example.query)
        assert list(found.gold) == [*gold, policy.end_id]
    assert rows[0].prefix == rows[1].prefix != rows[3].prefix


def test_a_cut_off_candidate_has_no_end_token(world):
    policy = world.policy()

    def ids(finish):
        pairs = world.pairs("exspin", wrong={"t/0": "SELECT age"}, finish=finish)
        rows = make_rows(
            policy.tokenizer, policy.end_id, world.examples, world.prompts, pairs, preset("exspin")
        )
        return rows[0].rejected[0].ids

    assert ids("stop") == (*ids("length"), policy.end_id)
    assert policy.end_id not in ids("length")


def test_only_pairs_with_weight_become_candidates(world):
    policy = world.policy()
    pairs = world.pairs("exspin", wrong=world.wrong, same=world.same)
    rows = make_rows(
        policy.tokenizer, policy.end_id, world.examples, world.prompts, pairs, preset("exspin")
    )
    assert [len(row.rejected) for row in rows] == [1, 1, 0, 0, 1, 0]


def test_a_prompt_without_a_rest_gives_its_last_prefix_token_to_it(world):
    policy = world.policy()
    text = world.prompts[0].text
    (found,) = make_rows(
        policy.tokenizer, policy.end_id, world.examples, [Prompt("t/0", "concert", text, len(text))]
    )
    assert found.prefix + found.rest == tuple(policy.tokenizer(text)["input_ids"])
    assert len(found.rest) == 1


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_epoch_has_every_question_once_in_as_few_steps_as_can_be(sizes, batch_size, seed):
    rows = [row(f"{d}/{i}", d) for d, size in enumerate(sizes) for i in range(size)]
    steps = plan_steps(rows, batch_size, 2, seed)
    count = math.ceil(len(rows) / batch_size)
    assert len(steps) == 2 * count
    for epoch in (steps[:count], steps[count:]):
        assert sorted(index for step in epoch for index in step) == list(range(len(rows)))
    mixed = [len(step) for step in steps if len(step) < batch_size]
    assert max(map(len, steps)) <= batch_size and (not mixed or max(mixed) - min(mixed) <= 1)


def test_the_plan_depends_on_seed_and_epoch_and_nothing_else():
    rows = [row(i, i % 5) for i in range(100)]
    steps = plan_steps(rows, 20, 2, seed=1)
    assert steps == plan_steps(rows, 20, 2, seed=1)
    assert steps != plan_steps(rows, 20, 2, seed=2)
    assert steps[:5] != steps[5:]
    assert plan_steps(rows, 20, 1.5, seed=1) == steps[:7]  # half of five steps is two


def test_a_step_takes_its_questions_from_one_database_where_there_are_enough():
    rows = [row(i, i % 20) for i in range(1000)]  # 50 of each
    steps = plan_steps(rows, 16, 1, seed=0)
    databases = [len({rows[index].prefix for index in step}) for step in steps]
    assert databases.count(1) >= 20 * 3 and len(steps) == 63
    assert max(databases) <= 9  # two of each database are left


def test_steps_of_different_databases_are_shuffled():
    rows = [row(i, i // 100) for i in range(400)]
    first = [rows[step[0]].prefix for step in plan_steps(rows, 10, 1, seed=0)]
    assert first != sorted(first)


def test_micro_batches_hold_each_row_once_with_all_its_answers():
    rows = [row(i, i % 3, answers=1 + i % 4, length=5 + i) for i in range(30)]
    for share in (True, False):
        micros = micro_batches(rows, range(30), share=share, budget=200)
        assert sorted(index for micro in micros for index in micro.rows) == list(range(30))
        for micro in micros:
            answers = [answer for index in micro.rows for answer in rows[index].answers]
            found = [ids[start:] for ids, start in zip(micro.sequences, micro.starts, strict=True)]
            assert found == answers
            whole = {micro.prefix + ids[:start] for ids, start in zip(micro.sequences, micro.starts, strict=True)}  # fmt: skip
            assert whole == {rows[index].prefix + rows[index].rest for index in micro.rows}


def test_a_prefix_is_shared_where_two_sequences_want_it():
    rows = [row(0, 0), row(1, 0), row(2, 1), row(3, 2, answers=2)]
    micros = micro_batches(rows, range(4), share=True, budget=10_000)
    assert {micro.rows: bool(micro.prefix) for micro in micros} == {
        (0, 1): True,
        (3,): True,  # gold and a candidate
        (2,): False,  # alone
    }


def test_the_budget_holds_for_all_but_single_rows():
    rows = [row(i, 0, length=3 + i) for i in range(50)]
    micros = micro_batches(rows, range(50), share=False, budget=150)
    for micro in micros:
        assert len(micro.rows) == 1 or len(micro.sequences) * max(map(len, micro.sequences)) <= 150


def test_without_an_anchor_rows_without_candidates_are_not_computed():
    rows = [row(0, answers=2), row(1, answers=1)]
    assert [m.rows for m in micro_batches(rows, (0, 1), share=True, budget=999, alpha=0.0)] == [(0,)]  # fmt: skip


def test_a_candidate_is_the_tokens_that_were_written(world):
    policy = world.policy()
    (pair,) = world.pairs("exspin", wrong={"t/0": "SELECT age"})
    pair = replace(pair, token_ids=(9, 8, 7))
    rows = make_rows(
        policy.tokenizer, policy.end_id, world.examples, world.prompts, [pair], preset("exspin")
    )
    assert rows[0].rejected[0].ids == (9, 8, 7, policy.end_id)


def test_steps_are_made_of_other_questions_in_every_epoch():
    one = [row(i) for i in range(100)]
    steps = plan_steps(one, 10, 2, seed=0)
    assert {frozenset(s) for s in steps[:10]}.isdisjoint({frozenset(s) for s in steps[10:]})
    few = [row(i, i % 20) for i in range(100)]  # five of each: nothing but leftovers

    def together(steps):
        return {frozenset(few[i].prefix for i in s) for s in steps}

    steps = plan_steps(few, 8, 2, seed=0)
    assert together(steps[:13]) != together(steps[13:])
