"""Generation in this process: the answers are the model's own, whatever is shared, batched or reordered."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch

from exspin.config import LoraConfig
from exspin.errors import ModelError
from exspin.generate import Decoding
from exspin.generate.hf import HfSampler, choose, uniforms
from exspin.generate.shared_prefix import SharedPrefix
from exspin.model import Policy, encode_prompt, load_policy, save_policy
from exspin.records import Candidate, Prompt

Architecture = Callable[..., Policy]
GREEDY = Decoding(temperature=0, top_p=1.0, max_new_tokens=12, batch_size=5, seed=0)
SAMPLED = Decoding(temperature=0.8, top_p=1.0, max_new_tokens=12, batch_size=8, seed=3)


def generated(policy: Policy, prompt: Prompt, max_new_tokens: int) -> tuple[int, ...]:
    """What transformers' own greedy `generate` writes, without the end token."""
    prefix, rest = encode_prompt(policy.tokenizer, prompt)
    ids = torch.tensor([prefix + rest])
    output = policy.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=max_new_tokens,
        pad_token_id=policy.pad_id,
        eos_token_id=policy.end_id,
    )
    tokens = output[0, ids.shape[1] :].tolist()
    return tuple(tokens[: tokens.index(policy.end_id)] if policy.end_id in tokens else tokens)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gpt2"])
def test_greedy_answers_equal_generate_token_for_token(
    kind: str, architecture: Architecture, prompts: list[Prompt]
) -> None:
    policy = architecture(kind)
    sampler = HfSampler(policy, GREEDY)
    found = sampler.sample(prompts, k=1, round_number=1)
    assert sampler.shares_prefixes
    assert [c.example_id for c in found] == [p.example_id for p in prompts]
    for prompt, candidate in zip(prompts, found, strict=True):
        assert candidate.token_ids == generated(policy, prompt, 12), prompt.example_id
    assert policy.model.config._attn_implementation == "sdpa"  # left as it was


def test_prefixes_of_one_question_each_are_read_in_one_pass(
    architecture: Architecture, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of linked schemas; the answers are those of any other way."""
    own = [
        replace(p, text=f"table t{n} (a)\n{p.text}", prefix_chars=p.prefix_chars + len(f"table t{n} (a)\n"))
        for n, p in enumerate(prompts)
    ]  # fmt: skip
    policy = architecture("llama")
    sampler = HfSampler(policy, GREEDY)
    sampler.shares_prefixes = True
    read: list[Sequence[int]] = []
    monkeypatch.setattr(sampler, "_prefill", read.append)
    found = sampler.sample(own[: len(own) // 5 * 5], k=1, round_number=1)
    assert read == []
    for prompt, candidate in zip(own, found, strict=False):
        assert candidate.token_ids == generated(policy, prompt, 12), prompt.example_id


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("mistral", "sliding window"), ("qwen3_next", "layers of type linear_attention")],
)
def test_models_that_cannot_share_take_the_plain_path_and_are_right(
    kind: str,
    reason: str,
    architecture: Architecture,
    prompts: list[Prompt],
    caplog: pytest.LogCaptureFixture,
) -> None:
    policy = architecture(kind)
    with caplog.at_level(logging.WARNING, logger="exspin"):
        sampler = HfSampler(policy, GREEDY)
        found = sampler.sample(prompts, k=2, round_number=1)
    assert not sampler.shares_prefixes
    assert [record.getMessage() for record in caplog.records if reason in record.getMessage()]
    for prompt, candidate in zip(prompts, found[::2], strict=True):
        assert candidate.token_ids == generated(policy, prompt, 12), prompt.example_id


def test_the_parity_check_itself_finds_a_wrong_attention(
    architecture: Architecture,
    prompts: list[Prompt],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing in the configuration gives it away; only the logits do."""
    right = SharedPrefix.attend

    def wrong(
        self: SharedPrefix, module: torch.nn.Module, query: torch.Tensor, *rest: Any, **options: Any
    ) -> Any:
        return right(self, module, query * 1.1, *rest, **options)

    monkeypatch.setattr(SharedPrefix, "attend", wrong)
    policy = architecture("llama")
    with caplog.at_level(logging.WARNING, logger="exspin"):
        sampler = HfSampler(policy, GREEDY)
        found = sampler.sample(prompts[:3], k=1, round_number=1)
    assert not sampler.shares_prefixes
    assert "logits would differ" in caplog.text
    for prompt, candidate in zip(prompts, found, strict=False):
        assert candidate.token_ids == generated(policy, prompt, 12)


def answers(candidates: Sequence[Candidate]) -> dict[tuple[str, int], tuple[int, ...]]:
    return {(c.example_id, c.k): c.token_ids for c in candidates}


def test_the_same_call_gives_the_same_bits_and_neighbours_do_not_matter(
    architecture: Architecture, prompts: list[Prompt]
) -> None:
    policy = architecture("llama")
    first = HfSampler(policy, SAMPLED).sample(prompts, k=4, round_number=1)
    assert HfSampler(policy, SAMPLED).sample(prompts, k=4, round_number=1) == first
    expected = answers(first)
    same = total = 0
    for batch_size in (4, 12, 64):
        for some in (prompts[::-1], prompts[3:], prompts[::5]):
            sampler = HfSampler(policy, replace(SAMPLED, batch_size=batch_size))
            for key, tokens in answers(sampler.sample(some, k=4, round_number=1)).items():
                same += tokens == expected[key]
                total += 1
    assert total > 200
    assert same / total >= 0.999


def test_seed_round_and_k_each_change_the_answers(
    architecture: Architecture, prompts: list[Prompt]
) -> None:
    policy = architecture("llama")

    def texts(seed: int, round_number: int) -> list[str]:
        sampler = HfSampler(policy, replace(SAMPLED, seed=seed))
        return [c.text for c in sampler.sample(prompts, k=3, round_number=round_number)]

    base = texts(0, 1)
    assert base != texts(1, 1)
    assert base != texts(0, 2)
    assert len(set(base)) > len(prompts)


def test_the_fork_gives_greedy_answers_k_times(
    architecture: Architecture, prompts: list[Prompt]
) -> None:
    policy = architecture("llama")
    once = HfSampler(policy, GREEDY).sample(prompts, k=1, round_number=1)
    thrice = HfSampler(policy, GREEDY).sample(prompts, k=3, round_number=1)
    assert [c.k for c in thrice[:3]] == [0, 1, 2]
    assert [c.token_ids for c in thrice] == [c.token_ids for c in once for _ in range(3)]


def test_an_ended_answer_stops_and_a_cut_one_says_so(
    architecture: Architecture, prompts: list[Prompt]
) -> None:
    """Rows end at different steps, so the batch shrinks on the way; the end token is not part of an answer."""
    policy = architecture("llama")
    found = HfSampler(policy, replace(SAMPLED, temperature=3.0, max_new_tokens=60)).sample(
        prompts, k=20, round_number=1
    )
    stopped = [c for c in found if c.finish_reason == "stop"]
    cut = [c for c in found if c.finish_reason == "length"]
    assert len(stopped) > 10
    assert len(cut) > 10
    assert all(len(c.token_ids) == 60 for c in cut)
    assert all(policy.end_id not in c.token_ids for c in found)
    assert len({len(c.token_ids) for c in stopped}) > 5
    assert all(
        c.text == policy.tokenizer.decode(list(c.token_ids), skip_special_tokens=True)
        for c in found[:10]
    )


@pytest.mark.parametrize("kind", ["llama", "mistral"])  # the shared and the plain path
def test_rows_that_leave_the_batch_do_not_disturb_the_others(
    kind: str, architecture: Architecture, prompts: list[Prompt]
) -> None:
    policy = architecture(kind)
    with torch.no_grad():  # let many answers end, at different steps
        policy.model.lm_head.weight[policy.end_id] *= 8
    decoding = replace(SAMPLED, temperature=2.0, max_new_tokens=60, batch_size=len(prompts))
    together = HfSampler(policy, decoding).sample(prompts, k=1, round_number=1)
    alone = HfSampler(policy, replace(decoding, batch_size=1)).sample(prompts, k=1, round_number=1)
    assert sum(c.finish_reason == "stop" for c in together) > len(prompts) / 2
    assert len({len(c.token_ids) for c in together}) > 4
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]


def test_a_prompt_without_prefix_or_without_rest_is_answered(
    architecture: Architecture, prompts: list[Prompt]
) -> None:
    policy = architecture("llama")
    text = prompts[0].text
    for prefix_chars in (0, len(text)):
        prompt = Prompt("x", "db", text, prefix_chars)
        (found,) = HfSampler(policy, GREEDY).sample([prompt], k=1, round_number=1)
        assert found.token_ids == generated(policy, prompt, 12)


def test_no_prompts_no_answers(architecture: Architecture) -> None:
    assert HfSampler(architecture("llama"), GREEDY).sample([], k=2, round_number=1) == []


def test_an_adapter_is_part_of_the_model(
    base: Policy, prompts: list[Prompt], tmp_path: Path
) -> None:
    save_policy(base, tmp_path / "base", notes={})
    policy = load_policy(
        tmp_path / "base",
        device="cpu",
        dtype="float32",
        lora=LoraConfig(rank=2),
    )
    before = HfSampler(policy, GREEDY).sample(prompts, k=1, round_number=1)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.5)
    after = HfSampler(policy, GREEDY).sample(prompts, k=1, round_number=1)
    assert [c.token_ids for c in after] != [c.token_ids for c in before]
    assert after[0].token_ids == generated(policy, prompts[0], 12)


def test_training_mode_is_left_as_it_was(architecture: Architecture, prompts: list[Prompt]) -> None:
    policy = architecture("gpt2", resid_pdrop=0.5)
    policy.model.train()
    found = HfSampler(policy, GREEDY).sample(prompts, k=1, round_number=1)
    assert policy.model.training
    policy.model.eval()
    assert found[0].token_ids == generated(policy, prompts[0], 12)


def test_broken_weights_are_an_error_that_names_the_example(
    architecture: Architecture, prompts: list[Prompt]
) -> None:
    policy = architecture("llama")
    with torch.no_grad():
        policy.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match=r"^\w+/\d: the model's logits are not finite"):
        HfSampler(policy, GREEDY).sample(prompts, k=1, round_number=1)


def test_a_prompt_past_the_context_is_an_error_that_names_the_example(
    architecture: Architecture, prompts: list[Prompt]
) -> None:
    long = Prompt("far/1", "db", prompts[0].text * 20, 0)
    with pytest.raises(ModelError, match=r"^far/1: \d+ prompt tokens and 12 new ones .* of 256;"):
        HfSampler(architecture("llama"), GREEDY).sample([*prompts, long], k=1, round_number=1)


def test_progress_counts_answers(architecture: Architecture, prompts: list[Prompt]) -> None:
    seen: list[int] = []
    HfSampler(architecture("llama"), GREEDY).sample(
        prompts, k=2, round_number=1, progress=seen.append
    )
    assert sum(seen) == 2 * len(prompts)
    assert len(seen) > 1


# --- choosing a token ----------------------------------------------------------------------------------------------


def test_sampled_tokens_follow_the_distribution() -> None:
    """20,000 draws from five tokens at temperature 2: the probabilities are the square roots, made to sum to one."""
    probabilities = torch.tensor([0.4, 0.3, 0.2, 0.09, 0.01])
    draws = torch.from_numpy(uniforms(("a test",), 20_000))
    tokens = choose(probabilities.log().expand(20_000, 5), draws, temperature=2.0, top_p=1.0)
    expected = probabilities.sqrt() / probabilities.sqrt().sum() * 20_000
    observed = torch.bincount(tokens, minlength=5)
    chi_square = float(((observed - expected) ** 2 / expected).sum())
    assert chi_square < 18.47  # the 0.1 % point for four degrees of freedom


def test_top_p_keeps_the_fewest_tokens_that_reach_it() -> None:
    probabilities = torch.tensor([0.1, 0.5, 0.3, 0.06, 0.04])
    draws = torch.from_numpy(uniforms(("top p",), 5000))
    logits = probabilities.log().expand(5000, 5)
    # 0.5 + 0.3 is below 0.85, so the token with 0.1 is needed; the rest is out.
    counts = Counter(choose(logits, draws, temperature=1.0, top_p=0.85).tolist())
    assert set(counts) == {0, 1, 2}
    assert counts[1] / 5000 == pytest.approx(0.5 / 0.9, abs=0.03)
    assert set(choose(logits, draws, temperature=1.0, top_p=0.01).tolist()) == {1}


def test_the_ends_of_the_unit_interval_choose_tokens_that_are_possible() -> None:
    logits = torch.tensor([[-float("inf"), 0.0, 0.0, -float("inf")]] * 2)
    draws = torch.tensor([0.0, np.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert choose(logits, draws, temperature=1.0, top_p=1.0).tolist() == [1, 2]


def test_uniforms_belong_to_their_key() -> None:
    assert uniforms((0, 1, "a", 0), 5).tolist() == uniforms((0, 1, "a", 0), 5).tolist()
    assert uniforms((0, 1, "a", 0), 9)[:5].tolist() == uniforms((0, 1, "a", 0), 5).tolist()
    first = {
        uniforms(key, 1)[0]
        for key in [(0, 1, "a", 0), (1, 1, "a", 0), (0, 2, "a", 0), (0, 1, "b", 0), (0, 1, "a", 1)]
    }
    assert len(first) == 5


def test_the_last_new_token_must_fit_the_context(architecture, prompts):
    prompt = prompts[0]
    room = 256 - sum(map(len, encode_prompt(architecture("llama").tokenizer, prompt)))
    policy = architecture("llama")
    HfSampler(policy, replace(GREEDY, max_new_tokens=room)).sample([prompt], k=1, round_number=1)
    with pytest.raises(ModelError, match="pass the model's context"):
        HfSampler(policy, replace(GREEDY, max_new_tokens=room + 1)).sample(
            [prompt], k=1, round_number=1
        )


def test_the_parity_check_sees_the_token_after_the_first(architecture, prompts, monkeypatch):
    right = SharedPrefix.attend

    def wrong(self, module, query, *rest, **options):
        return right(self, module, query * 1.1 if query.shape[2] == 1 else query, *rest, **options)

    monkeypatch.setattr(SharedPrefix, "attend", wrong)
    sampler = HfSampler(architecture("llama"), GREEDY)
    sampler.sample(prompts[:3], k=1, round_number=1)
    assert not sampler.shares_prefixes


def test_a_model_with_its_own_scale_of_attention(architecture, prompts):
    policy = architecture("granite", attention_multiplier=0.7)
    sampler = HfSampler(policy, GREEDY)
    found = sampler.sample(prompts, k=1, round_number=1)
    assert sampler.shares_prefixes
    for prompt, candidate in zip(prompts, found, strict=True):
        assert candidate.token_ids == generated(policy, prompt, 12)
