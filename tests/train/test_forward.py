"""Log-probs of answers: the fast ways agree with reading every sequence in full, or are not taken."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from exspin.model import Policy
from exspin.presets import preset
from exspin.train import forward as forward_module
from exspin.train.batch import make_rows
from exspin.train.forward import Forward, Way, choose_forward
from exspin.train.reference import reference_logps

pytestmark = pytest.mark.train

SHAPES = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 1},
    "gpt2": {"n_inner": 64, "resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 8},
    "gemma3_text": {"num_key_value_heads": 1, "head_dim": 16, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"], "final_logit_softcapping": 5.0},
    "granite": {"num_key_value_heads": 2, "logits_scaling": 3.0},
    "qwen3_next": {
        "num_key_value_heads": 2,
        "head_dim": 16,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_value_heads": 2,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "num_experts": 0,
    },
}  # fmt: skip


def shaped(kind, world):
    """A random model of an architecture, large weights so that a wrong mask shows."""
    tokenizer = world.policy().tokenizer
    config = CONFIG_MAPPING[kind](
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.3,
        **SHAPES[kind],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    return Policy(model.eval(), tokenizer, kind)


def rows_of(policy, world):
    pairs = world.pairs("spin", wrong=world.wrong, same=world.same)
    return make_rows(
        policy.tokenizer, policy.end_id, world.examples, world.prompts, pairs, preset("spin")
    )


def by_hand(policy, row):
    """Each sequence alone, token by token."""
    found = []
    for answer in row.answers:
        ids = torch.tensor([row.prefix + row.rest + answer])
        with torch.no_grad():
            logps = policy.model(ids).logits[0].log_softmax(-1)
        start = len(row.prefix + row.rest)
        found.append(sum(logps[i - 1, ids[0, i]] for i in range(start, ids.shape[1])).item())
    return found


@pytest.mark.parametrize("way", Way)
def test_every_way_gives_the_log_probs_of_sequences_read_alone(way, world):
    policy = world.policy()
    rows = rows_of(policy, world)
    found = reference_logps(Forward(policy, way, budget=2000), rows)
    for row, logps in zip(rows, found.logps, strict=True):
        assert logps.tolist() == pytest.approx(by_hand(policy, row), abs=1e-4)


@pytest.mark.parametrize("kind", SHAPES)
def test_whatever_way_is_chosen_the_log_probs_are_right(kind, world):
    policy = shaped(kind, world)
    rows = rows_of(policy, world)
    chosen = choose_forward(policy, rows)
    assert chosen.way is Way.SHARED or kind in {"mistral", "gemma3_text", "qwen3_next"}
    found = reference_logps(chosen, rows)
    for row, logps in zip(rows, found.logps, strict=True):
        assert logps.tolist() == pytest.approx(by_hand(policy, row), abs=2e-3)


@pytest.mark.parametrize("kind", SHAPES)
def test_rows_without_a_prefix_are_packed_where_that_is_exact(kind, world, monkeypatch):
    policy = shaped(kind, world)
    rows = [replace(row, prefix=()) for row in rows_of(policy, world)]
    assert max(row.longest for row in rows) <= forward_module.PACKED_ALONE
    chosen = choose_forward(policy, rows)
    assert chosen.way is Way.SHARED or kind in {"mistral", "gemma3_text", "qwen3_next"}
    found = reference_logps(chosen, rows)
    for row, logps in zip(rows, found.logps, strict=True):
        assert logps.tolist() == pytest.approx(by_hand(policy, row), abs=2e-3)


def test_a_model_that_cannot_be_packed_is_found_on_rows_without_a_prefix(world):
    policy = shaped("qwen3_next", world)
    rows = rows_of(policy, world)
    bare = [replace(row, prefix=()) for row in rows]
    assert choose_forward(policy, [*bare, *rows]).way is not Way.SHARED
    assert choose_forward(policy, bare).way is not Way.SHARED


def test_shared_gradients_are_those_of_separate_sequences(world):
    policy = world.policy()
    rows = rows_of(policy, world)

    def gradient(way):
        forward = Forward(policy, way, budget=2000)
        policy.model.zero_grad()
        for micro in forward.cut(rows, range(len(rows))):
            forward.answer_logps(micro).sum().backward()
        return torch.cat([p.grad.flatten() for p in policy.model.parameters()])

    shared, full = gradient(Way.SHARED), gradient(Way.FULL)
    assert (shared - full).norm() / full.norm() < 1e-5


@pytest.mark.parametrize("error", [None, ValueError("no cache")])
def test_a_way_that_is_not_exact_is_refused_in_one_line(error, world, monkeypatch, caplog):
    """Sharing that is off by a token's worth, or that a model refuses: sequences are read in full instead."""
    right = Forward.answer_logps

    def off(self, micro):
        if micro.prefix and error:
            raise error
        return right(self, micro) + (0.01 if micro.prefix else 0.0)

    monkeypatch.setattr(forward_module.Forward, "answer_logps", off)
    policy = world.policy()
    with caplog.at_level(logging.WARNING):
        assert choose_forward(policy, rows_of(policy, world)).way is Way.PLAIN
    (line,) = caplog.messages
    assert line.startswith(
        "tiny: training reads sequences the plain way, which is slower (shared: "
    )
    assert ("no cache" if error else "differ by 0.01") in line


def test_dropout_plays_no_part(world):
    policy = world.policy()
    policy.model.config.attention_dropout = 0.5
    for layer in policy.model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    policy.model.train()
    forward, rows = Forward(policy, Way.SHARED, 2000), rows_of(policy, world)
    first, second = (reference_logps(forward, rows).logps for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_longer_budget_changes_nothing_but_the_cut(world):
    policy = world.policy()
    rows = rows_of(policy, world)
    small = reference_logps(Forward(policy, Way.SHARED, 10), rows)
    large = reference_logps(Forward(policy, Way.SHARED, 10_000), rows)
    assert torch.cat(small.logps).tolist() == pytest.approx(torch.cat(large.logps).tolist(), abs=1e-4)  # fmt: skip


def test_lora_goes_the_same_way(world, tmp_path):
    policy = world.lora_policy(tmp_path)
    rows = rows_of(policy, world)
    chosen = choose_forward(policy, rows)
    assert chosen.way is Way.SHARED
    assert reference_logps(chosen, rows).logps[0].tolist() == pytest.approx(by_hand(policy, rows[0]), abs=1e-4)  # fmt: skip


@pytest.mark.parametrize("where", ["packed", "nan"])
def test_what_is_only_wrong_in_one_place_is_found(where, world, monkeypatch):
    right = Forward.answer_logps

    def off(self, micro):
        found = right(self, micro)
        if where == "nan":
            return found * float("nan") if micro.prefix else found
        return found + (0.01 if self.way is Way.SHARED and not micro.prefix else 0.0)

    monkeypatch.setattr(Forward, "answer_logps", off)
    policy = world.policy()
    rows = rows_of(policy, world)
    bare = [replace(row, prefix=()) for row in rows]
    assert choose_forward(policy, [*bare, *rows]).way is Way.PLAIN


@pytest.mark.parametrize("lone", [True, False])
def test_the_longest_prefix_is_tried_also_where_one_question_has_it(lone, world, monkeypatch):
    """A window of 64 holds the short schema and not the long one."""
    monkeypatch.setitem(SHAPES, "mistral", {"num_key_value_heads": 2, "sliding_window": 64})
    policy = shaped("mistral", world)
    rows = [replace(row, rejected=()) for row in rows_of(policy, world)]
    long = [replace(row, prefix=row.prefix * 4) for row in rows[: 1 if lone else 3]]
    assert choose_forward(policy, rows[3:]).way is Way.SHARED
    assert choose_forward(policy, [*long, *rows[3:]]).way is not Way.SHARED
