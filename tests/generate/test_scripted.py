"""The scripted sampler says what it is told."""

from __future__ import annotations

import pytest

from exspin.errors import DataError
from exspin.generate.scripted import ScriptedSampler
from exspin.records import Prompt

PROMPTS = [Prompt("a", "db", "A", 0), Prompt("b", "db", "B", 0)]


def test_a_function_sees_prompt_number_and_round() -> None:
    sampler = ScriptedSampler(lambda prompt, k, round_number: f"{prompt.text}{k}{round_number}")
    found = sampler.sample(PROMPTS, k=2, round_number=7)
    assert [(c.example_id, c.k, c.text) for c in found] == [
        ("a", 0, "A07"),
        ("a", 1, "A17"),
        ("b", 0, "B07"),
        ("b", 1, "B17"),
    ]
    assert {c.finish_reason for c in found} == {"stop"}


def test_a_list_starts_over_when_it_is_used_up() -> None:
    sampler = ScriptedSampler({"a": ["x", "y"], "b": ["z"]})
    assert [c.text for c in sampler.sample(PROMPTS, k=3, round_number=1)] == list("xyxzzz")


def test_progress_counts_answers() -> None:
    seen: list[int] = []
    ScriptedSampler({"a": ["x"], "b": ["y"]}).sample(
        PROMPTS, k=2, round_number=1, progress=seen.append
    )
    assert sum(seen) == 4


def test_a_question_without_a_script_is_an_error_that_names_it() -> None:
    with pytest.raises(DataError, match=r"^b: the script has no answer"):
        ScriptedSampler({"a": ["x"], "b": []}).sample(PROMPTS, k=1, round_number=1)
