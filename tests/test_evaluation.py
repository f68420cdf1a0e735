"""Answers to a split become one verdict a row, with a sampler that writes what it is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from exspin.config import Config, FeedbackConfig, GenerationConfig, PromptConfig
from exspin.data import Split, load, with_hardness
from exspin.errors import DataError
from exspin.evaluation import (
    Evaluation,
    describe_released,
    evaluate_split,
    greedy,
    limits_of,
    write_predictions,
)
from exspin.generate.scripted import ScriptedSampler
from exspin.progress import Silent
from exspin.prompting import make_prompts, prompt_notes
from exspin.records import Candidate, Outcome, Prompt
from exspin.sql.execute import Executor


def answered(data: Split, answers: list[str]) -> Evaluation:
    """The evaluation of a model that answers question n of the file with `answers[n]`."""
    prompts = make_prompts(None, data.usable(), data.databases, PromptConfig())
    place = {e.example_id: e.index for e in data.examples}

    def answer(prompt: Prompt, k: int, round_number: int) -> str:
        assert k == 0  # evaluation asks once
        return answers[place[prompt.example_id]]

    with Executor(workers=1) as executor:
        return evaluate_split(ScriptedSampler(answer), data, prompts, executor, "default", Silent())


@pytest.fixture
def dev(small_spider: Path) -> Split:
    """Six questions of `farm`, then six of `lost`, whose database is missing."""
    return with_hardness(load(f"spider:{small_spider}", "dev"))


ANSWERS = [
    "```sql\nSELECT count(*) FROM pet;\n```",  # right, and taken out of the text
    "SELECT nickname FROM pet",
    "I do not know.",
    "SELECT name FROM pet WHERE kind = 'cat'",
    "SELECT name FROM pet ORDER BY age",
    "DELETE FROM pet",
]


def test_a_quarantined_question_is_not_asked_and_keeps_its_row(dev: Split) -> None:
    marked = replace(dev, quarantined={"spider/dev/0": "failing"})
    result = answered(marked, ANSWERS)
    assert len(result.candidates) == 5
    assert (result.verdicts[0].outcome, result.verdicts[0].detail) == (
        Outcome.GOLD_UNUSABLE,
        "quarantined",
    )
    assert (result.score.n, result.score.scored, result.score.ex) == (12, 5, 1 / 5)


def test_counts_add_up_with_missing_databases_counted(dev: Split) -> None:
    result = answered(dev, ANSWERS)
    score = result.score
    assert [v.outcome for v in result.verdicts] == [
        Outcome.MATCH,
        Outcome.ERROR,
        Outcome.NOT_A_QUERY,
        Outcome.MISMATCH,
        Outcome.MATCH,
        Outcome.DENIED,
        *[Outcome.GOLD_UNUSABLE] * 6,
    ]
    assert (score.n, score.scored, score.gold_unusable, score.ex) == (12, 6, 6, 2 / 6)
    assert sum(score.outcomes.values()) == 12
    assert sum(part.n for part in score.by_hardness.values()) == 12
    assert {name: part.scored for name, part in score.by_database.items()} == {"farm": 6, "lost": 0}
    assert {v.detail for v in result.verdicts[6:]} == {"database_missing"}


def test_only_questions_that_can_be_executed_are_asked(dev: Split) -> None:
    result = answered(dev, ANSWERS)
    assert [c.example_id for c in result.candidates] == [e.example_id for e in dev.usable()]
    assert [v.example_id for v in result.verdicts] == [e.example_id for e in dev.examples]


def test_predictions_have_a_line_for_every_row(dev: Split, tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.jsonl", answered(dev, ANSWERS))
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    assert (rows[0]["text"], rows[0]["sql"]) == (ANSWERS[0], "SELECT count(*) FROM pet")
    assert (rows[11]["text"], rows[11]["outcome"]) == ("", "gold_unusable")


def test_a_prompt_shows_the_schema_and_ends_with_the_question(dev: Split) -> None:
    first, second, *_ = make_prompts(None, dev.usable(), dev.databases, PromptConfig())
    assert "table pet (pet_id integer primary key, name text: Ada | Bo" in first.text
    assert first.text.endswith("question: How many pets are there?\nsql:")
    assert first.text[: first.prefix_chars] == second.text[: second.prefix_chars]


def test_the_configuration_reaches_limits_and_decoding() -> None:
    feedback = FeedbackConfig(timeout_s=1.5, max_rows=10, max_bytes=20, memory_mb=64)
    limits = limits_of(feedback)
    assert (limits.timeout_s, limits.max_rows, limits.max_bytes, limits.memory_mb) == (
        1.5,
        10,
        20,
        64,
    )
    decoding = greedy(GenerationConfig(temperature=1.3, top_p=0.5, batch_size=3), 17, seed=5)
    assert (decoding.temperature, decoding.top_p) == (0.0, 1.0)
    assert (decoding.max_new_tokens, decoding.batch_size, decoding.seed) == (17, 3, 5)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes of values lie below the test's own folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_bad_data_are_found_before_a_model_is_loaded(small_spider: Path) -> None:
    pytest.importorskip("torch")
    from exspin.evaluation import evaluate

    with pytest.raises(DataError, match="did you mean 'dev'"):
        evaluate("no/such/model/anywhere", f"spider:{small_spider}", "dve", config=Config())


def test_rows_keep_their_place_where_the_missing_database_comes_first(small_spider):
    rows = json.loads((small_spider / "dev.json").read_text())
    (small_spider / "dev.json").write_text(json.dumps(rows[6:] + rows[:6]))
    dev = with_hardness(load(f"spider:{small_spider}", "dev"))
    result = answered(dev, [""] * 6 + ANSWERS)
    assert [v.example_id for v in result.verdicts] == [e.example_id for e in dev.examples]
    assert {n: p.scored for n, p in result.score.by_database.items()} == {"farm": 6, "lost": 0}


def test_a_checkpoint_brings_its_prompts_and_its_answer_length(small_spider, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from exspin.config import Config, PromptConfig, TinyConfig
    from exspin.evaluation import evaluate
    from exspin.generate.hf import HfSampler
    from exspin.model import make_tiny, save_policy

    policy = make_tiny(
        ["SELECT count(*) FROM pet"],
        TinyConfig(layers=1, width=32, heads=2, vocabulary=300),
        seed=0,
        max_tokens=500,
    )
    notes = {
        "prompt": prompt_notes(PromptConfig(max_tokens=400, sample_values=0, values=False))[
            "prompt"
        ],
        "max_new_tokens": 3,
    }
    save_policy(policy, tmp_path / "m", notes=notes)
    seen = []

    def sample(self, prompts, **_):
        seen.extend((self.decoding.max_new_tokens, "Ada" in p.text) for p in prompts)
        return [Candidate(p.example_id, 0, "", "stop") for p in prompts]

    monkeypatch.setattr(HfSampler, "sample", sample)
    evaluate(tmp_path / "m", f"spider:{small_spider}", "dev", config=Config())
    assert seen == [(3, False)] * 6


@pytest.mark.parametrize(("note", "asked", "held"), [
    ({"names": "schema"}, None, True),
    ({"names": "free"}, "schema", False),
    ({}, "schema", True),
    ({}, None, False),
])  # fmt: skip
def test_a_checkpoint_brings_whether_its_answers_are_held_to_names(
    note, asked, held, small_spider, tmp_path, monkeypatch
):
    pytest.importorskip("torch")
    from exspin.config import TinyConfig
    from exspin.evaluation import evaluate
    from exspin.generate.hf import HfSampler
    from exspin.model import make_tiny, save_policy

    tiny = TinyConfig(layers=1, width=32, heads=2, vocabulary=300)
    policy = make_tiny(["SELECT count(*) FROM pet"], tiny, seed=0, max_tokens=500)
    save_policy(policy, tmp_path / "m", notes={**note, "max_new_tokens": 8})
    seen, said = [], []

    class Listening(Silent):
        def say(self, text):
            said.append(text)

    def sample(self, prompts, **_):
        seen.append(self.guides)
        self.released += 2
        return [Candidate(p.example_id, 0, "", "stop") for p in prompts]

    monkeypatch.setattr(HfSampler, "sample", sample)
    config = Config(generation=GenerationConfig(names=asked))
    evaluate(tmp_path / "m", f"spider:{small_spider}", "dev", config=config, progress=Listening())
    assert [guides is not None for guides in seen] == [held]
    assert not held or seen[0]["farm"].allows("SELECT name FROM pet")
    assert said.count("dev: 2 of 6 answers could not be held to the schema's names") == 1


def test_nothing_is_said_where_every_answer_was_held():
    assert describe_released(0, 6) == ""


def test_prompts_of_another_version_and_a_place_that_is_a_folder(
    small_spider, tmp_path, monkeypatch
):
    pytest.importorskip("torch")
    from exspin.config import TinyConfig
    from exspin.errors import RunError
    from exspin.evaluation import evaluate
    from exspin.generate.hf import HfSampler
    from exspin.model import make_tiny, save_policy
    from exspin.prompt.specimen import signature

    tiny = TinyConfig(layers=1, width=32, heads=2, vocabulary=300)
    policy = make_tiny(["SELECT count(*) FROM pet"], tiny, seed=0, max_tokens=500)
    said = []

    class Listening(Silent):
        def say(self, text):
            said.append(text)

    def sample(self, prompts, **_):
        return [Candidate(p.example_id, 0, "", "stop") for p in prompts]

    monkeypatch.setattr(HfSampler, "sample", sample)
    prompt = {"max_tokens": 400, "sample_values": 2, "template": "plain"}  # before there were hints
    same = signature(PromptConfig(schema="full", values=False))
    for name, mark in [("same", same), ("other", "prompt-0")]:
        notes = {"prompt": prompt, "prompt_signature": mark}
        save_policy(policy, tmp_path / name, notes=notes)
        evaluate(tmp_path / name, f"spider:{small_spider}", "dev", progress=Listening())
    (warning,) = [line for line in said if "another version" in line]
    assert warning.startswith(str(tmp_path / "other"))
    monkeypatch.setattr(HfSampler, "sample", lambda *_, **__: pytest.fail("it worked first"))
    with pytest.raises(RunError, match="cannot be written"):
        evaluate(tmp_path / "same", f"spider:{small_spider}", "dev", predictions=tmp_path)
