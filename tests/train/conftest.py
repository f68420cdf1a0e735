"""A small world to learn in: two databases, six questions, a model of 2 layers and width 32."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch
from torch import Tensor

from exspin.config import LearningConfig, LoraConfig, SftConfig, TinyConfig
from exspin.model import Policy, load_policy, make_tiny, save_policy
from exspin.pairs import make_pairs
from exspin.records import Candidate, Example, Outcome, Pair, Prompt, Verdict
from exspin.train import TrainingLog, train_round, train_sft

SCHEMAS = {
    "concert": "table singer (singer_id, name text: Joe | Rose, age integer: 52 | 32)\ntable concert (year, place)\n",
    "flight": "table flight (flight_id, origin text, price real)\ntable pilot (pilot_id, name text)\n",
}
QUESTIONS = [
    ("concert", "How many singers are there?", "SELECT count(*) FROM singer"),
    ("concert", "Who is oldest?", "SELECT name FROM singer ORDER BY age DESC LIMIT 1"),
    ("concert", "In which years were concerts?", "SELECT DISTINCT year FROM concert"),
    ("flight", "Dearest flight?", "SELECT max(price) FROM flight"),
    ("flight", "Which pilots are there?", "SELECT name FROM pilot"),
    ("flight", "Where do flights begin, and at what price?", "SELECT origin, price FROM flight"),
]


class World:
    """Questions, prompts, candidates, and short ways to train on them."""

    examples = tuple(
        Example(f"t/{index}", index, db_id, question, query)
        for index, (db_id, question, query) in enumerate(QUESTIONS)
    )
    prompts = tuple(
        Prompt(f"t/{i}", db_id, f"{SCHEMAS[db_id]}question: {question}\nsql: ", len(SCHEMAS[db_id]))
        for i, (db_id, question, _) in enumerate(QUESTIONS)
    )
    wrong: ClassVar = {  # run, but answer something else, or do not run
        "t/0": "SELECT count(*) FROM concert",
        "t/1": "SELECT age FROM singer",
        "t/4": "SELECT",
    }
    same: ClassVar = {  # the same result, written differently
        "t/2": "SELECT year FROM concert GROUP BY year",
        "t/3": "SELECT max(T1.price) FROM flight AS T1",
    }

    def policy(self, seed: int = 0) -> Policy:
        """The same weights for the same seed."""
        texts = [*(prompt.text for prompt in self.prompts), *(e.query for e in self.examples)]
        tiny = TinyConfig(layers=2, width=32, heads=2, vocabulary=400)
        return make_tiny(texts, tiny, seed=seed, max_tokens=512)

    def lora_policy(self, directory: Path) -> Policy:
        """A new adapter on the model of `policy()`, which is saved in the directory."""
        save_policy(self.policy(), directory, notes={})
        return load_policy(directory, device="cpu", dtype="float32", lora=LoraConfig(rank=4))

    def pairs(
        self,
        preset: str,
        *,
        wrong: dict[str, str] | None = None,
        same: dict[str, str] | None = None,
        finish: str = "stop",
    ) -> list[Pair]:
        """One candidate a question: `wrong` with outcome mismatch, `same` with match."""
        written = [(n, t, Outcome.MISMATCH) for n, t in (wrong or {}).items()]
        written += [(n, t, Outcome.MATCH) for n, t in (same or {}).items()]
        examples = [e for e in self.examples if e.example_id in {name for name, _, _ in written}]
        return make_pairs(
            examples,
            [Candidate(name, 0, text, finish) for name, text, _ in written],
            [Verdict(name, 0, outcome, "", text) for name, text, outcome in written],
            preset,
        )

    def sft(
        self, policy: Policy, directory: Path, seed: int = 0, **settings: object
    ) -> TrainingLog:
        config = SftConfig(
            **{"epochs": 2, "lr": 1.5e-3, "batch_size": 3, "save_steps": 2, **settings}
        )
        return train_sft(
            policy, self.examples, self.prompts, config, seed=seed, directory=directory, notes={}
        )

    def round(
        self, policy: Policy, pairs: list[Pair], directory: Path, **settings: object
    ) -> TrainingLog:
        """Round 1 with the settings given. All six questions are in it, whatever has pairs."""
        config = LearningConfig(**{"batch_size": 3, "lr": 1e-3, "save_steps": 1, **settings})
        return train_round(
            policy,
            self.examples,
            self.prompts,
            pairs,
            config,
            round_number=1,
            seed=0,
            directory=directory,
            notes={},
        )

    def weights(self, policy: Policy) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in policy.model.named_parameters()}

    def same_bits(self, one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
        return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models this small are slower on two."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def world() -> World:
    return World()
