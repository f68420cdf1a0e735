"""Tiny random models of several architectures that share one tokenizer. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from exspin.config import TinyConfig
from exspin.model import Policy, make_tiny
from exspin.records import Prompt

SHAPES = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 1},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 16},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 16},
    "granite": {"num_key_value_heads": 2},
    "gpt2": {"n_inner": 64, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
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
}

SCHEMAS = {
    "concert": "table singer (singer_id integer, name text, age integer)\nquestion:",
    "pets": "table pet (pet_id integer, kind text)\ntable owner (owner_id integer, name text)\nquestion:",
    "flights": "table flight (flight_no integer, airport text, seats integer, price real)\nquestion:",
}
QUESTIONS = (
    " how many are there?\nsql:",
    " list the names of all that are older than 30, the oldest first\nsql:",
    " which one?\nsql:",
    " what is the average of each kind, and which is the largest of them?\nsql:",
)


@pytest.fixture(scope="session")
def base() -> Policy:
    """The tokenizer and a model with 2 layers of 32."""
    tiny = TinyConfig(layers=2, width=32, heads=2, vocabulary=400)
    return make_tiny([*SCHEMAS.values(), *QUESTIONS], tiny, seed=0, max_tokens=256)


@pytest.fixture(scope="session")
def architecture(base: Policy) -> Callable[..., Policy]:
    """Makes a random policy of an architecture, its weights large enough that its tokens differ in probability."""

    def make(kind: str, **changes: object) -> Policy:
        config = CONFIG_MAPPING[kind](
            vocab_size=len(base.tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=256,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=base.end_id,
            pad_token_id=base.pad_id,
            **(SHAPES[kind] | changes),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
        return Policy(model.eval(), base.tokenizer, kind)

    return make


@pytest.fixture(scope="session")
def prompts() -> list[Prompt]:
    """Four questions to each of three databases, the databases mixed."""
    return [
        Prompt(f"{db_id}/{number}", db_id, schema + question, prefix_chars=len(schema))
        for number, question in enumerate(QUESTIONS)
        for db_id, schema in SCHEMAS.items()
    ]
