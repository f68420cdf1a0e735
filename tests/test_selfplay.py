"""The main loop on a data set of twelve questions: what it writes, what it continues, what it refuses, what reaches the update."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from exspin import selfplay
from exspin.config import Config, TinyConfig, load_config
from exspin.data import load
from exspin.errors import RunError, UserError
from exspin.generate.scripted import ScriptedSampler
from exspin.ledger import digest_file, read_json, read_jsonl
from exspin.progress import Silent
from exspin.records import Prompt
from exspin.selfplay import run
from exspin.sql.guide import Guide
from exspin.sql.schema import read_schema

pytestmark = pytest.mark.train

SMALL = Path(__file__).with_name("small.yaml")


class Said(Silent):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bars: list[tuple[str, int, int]] = []  # label, total, what was advanced

    def say(self, text: str) -> None:
        self.lines.append(text)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        done: list[int] = []
        yield done.append
        self.bars.append((label, total, sum(done)))


def small(data: Path, *more: str) -> Config:
    return load_config(SMALL, [f"data=spider:{data}", *more])


def weights(directory: Path) -> dict[str, str]:
    """Digest of every stage's weights."""
    found = sorted(directory.glob("*/checkpoint/*.safetensors"))
    return {str(path.relative_to(directory)): digest_file(path) for path in found}


def test_a_run_leaves_files_a_person_can_open(small_spider: Path, tmp_path: Path) -> None:
    summary = run(small(small_spider), tmp_path / "run")
    place = tmp_path / "run"
    assert (place / "config.yaml").exists() and (place / "environment.json").exists()
    for name in ("prompts", "candidates", "outcomes", "pairs"):
        assert list(read_jsonl(place / "round-2" / f"{name}.jsonl"))
    assert len(list(read_jsonl(place / "round-1" / "candidates.jsonl"))) == 12 * 2
    entries = summary.to_json()["rounds"]
    assert [(e["round"], e["split"]) for e in entries] == [
        (t, s) for t in (0, 1, 2) for s in ("heldout", "dev")
    ]
    # Six questions of dev have their database, six have not: all are counted.
    dev = [e for e in entries if e["split"] == "dev"]
    assert all((e["n"], e["scored"], e["outcomes"]["gold_unusable"]) == (12, 6, 6) for e in dev)
    assert all(sum(e["outcomes"].values()) == 12 for e in dev)
    assert (place / "report.html").stat().st_size > 1000
    assert json.loads((place / "report.json").read_text())["best_round"] == summary.best_round


def test_quarantined_rows_are_neither_trained_on_nor_scored(
    small_spider: Path, tmp_path: Path
) -> None:
    """And another quarantine is another data set: the run does not continue with it."""
    lines = [{"example_id": f"spider/{row}", "reason": "ties"} for row in ("train/0", "dev/1")]
    file = tmp_path / "q.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = small(small_spider, "rounds=0", "sft.epochs=1", f"data_quarantine={file}")
    summary = run(config, tmp_path / "run")
    trained = {row["example_id"] for row in read_jsonl(tmp_path / "run" / "sft" / "prompts.jsonl")}
    assert len(trained) == 11 and "spider/train/0" not in trained
    (dev,) = (e for e in summary.to_json()["rounds"] if e["split"] == "dev")
    assert (dev["n"], dev["scored"], dev["outcomes"]["gold_unusable"]) == (12, 5, 7)
    (count,) = (c for c in summary.counts if c.split == "dev")
    assert (sum(count.missing.values()), count.quarantined, count.gold_failed) == (6, 1, 0)
    said = read_json(tmp_path / "run" / "table.json")["said"]
    assert any("1 of 12 questions are quarantined (ties 1)" in line for line in said)
    file.write_text(json.dumps(lines[0]))
    with pytest.raises(RunError, match="the data changed"):
        run(config, tmp_path / "run")


def test_the_best_round_is_chosen_on_the_held_out_databases(
    small_spider: Path, tmp_path: Path
) -> None:
    run(small(small_spider), tmp_path / "run")
    best = read_json(tmp_path / "run" / "best.json")
    assert best["split"] == "heldout"
    assert best["best_round"] == best["ex"].index(max(best["ex"]))


def test_the_same_command_again_changes_nothing(small_spider: Path, tmp_path: Path) -> None:
    config = small(small_spider, "rounds=1")
    run(config, tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").glob("*/checkpoint/*")}
    run(config, tmp_path / "run")
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run").glob("*/checkpoint/*")}


def test_more_rounds_go_on_from_what_is_there(small_spider: Path, tmp_path: Path) -> None:
    run(small(small_spider, "rounds=1"), tmp_path / "run")
    first = weights(tmp_path / "run")
    run(small(small_spider, "rounds=2"), tmp_path / "run")
    both = weights(tmp_path / "run")
    assert first.items() < both.items()
    run(small(small_spider, "rounds=2"), tmp_path / "straight")
    assert both == weights(tmp_path / "straight")


@pytest.mark.parametrize("change", ["seed=1", "generation.temperature=0.5", "learning.lambda=0.2"])
def test_another_configuration_is_refused(small_spider: Path, tmp_path: Path, change: str) -> None:
    run(small(small_spider, "rounds=0"), tmp_path / "run")
    with pytest.raises(RunError, match=change.partition("=")[0]):
        run(small(small_spider, "rounds=0", change), tmp_path / "run")


def test_changed_data_are_refused(small_spider: Path, tmp_path: Path) -> None:
    run(small(small_spider, "rounds=0"), tmp_path / "run")
    text = (small_spider / "train_spider.json").read_text()
    (small_spider / "train_spider.json").write_text(text.replace("oldest age", "greatest age"))
    with pytest.raises(RunError, match="data changed"):
        run(small(small_spider, "rounds=0"), tmp_path / "run")


def test_a_damaged_checkpoint_is_not_reused(small_spider: Path, tmp_path: Path) -> None:
    run(small(small_spider, "rounds=1"), tmp_path / "run")
    path = tmp_path / "run" / "sft" / "checkpoint" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(RunError, match=r"model\.safetensors"):
        run(small(small_spider, "rounds=1"), tmp_path / "run")


def test_what_is_deleted_as_told_is_made_again(small_spider: Path, tmp_path: Path) -> None:
    config = small(small_spider, "rounds=1")
    run(config, tmp_path / "run")
    wanted = weights(tmp_path / "run")
    scores = tmp_path / "run" / "sft" / "scores.json"
    scored = scores.read_bytes()
    for name in ("checkpoint/config.json", "scores.json"):
        (tmp_path / "run" / "sft" / name).unlink()
        with pytest.raises(RunError, match=f"{name}: missing .* or delete (.*) in ") as error:
            run(config, tmp_path / "run")
        told = re.search("delete (.*) in ", str(error.value))
        assert told
        for part in told[1].split(", "):
            place = tmp_path / "run" / "sft" / part
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        run(config, tmp_path / "run")
        assert weights(tmp_path / "run") == wanted and scores.read_bytes() == scored


def test_a_damaged_block_of_candidates_is_named_with_its_cure(
    small_spider: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selfplay, "SHARD", 4)
    config = small(small_spider, "rounds=1")

    def killed(prompt: Prompt, k: int, round_number: int) -> str:
        block = next((tmp_path / "run" / "round-1").glob("candidates-*/*.jsonl"), None)
        if block:
            block.write_bytes(block.read_bytes()[:-9])
            raise KeyboardInterrupt
        return "SELECT 1"

    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run", opponent=ScriptedSampler(killed))
    with pytest.raises(UserError, match=r"00000000\.jsonl:8: not JSON .*; delete the file to have"):
        run(config, tmp_path / "run", opponent=answers(small_spider))
    next((tmp_path / "run" / "round-1").glob("candidates-*/00000000.jsonl")).unlink()
    run(config, tmp_path / "run", opponent=answers(small_spider))


def test_a_directory_with_other_things_in_it_is_left_alone(
    small_spider: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(RunError, match=r"thesis\.tex"):
        run(small(small_spider), tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]


# --- feedback reaches the update ------------------------------------------------------------------------------------

SAME_RESULT = {
    "SELECT count(*) FROM pet": "SELECT count(pet_id) FROM pet",
    "SELECT name FROM pet": "SELECT p.name FROM pet AS p",
    "SELECT max(age) FROM pet": "SELECT age FROM pet ORDER BY age DESC LIMIT 1",
    "SELECT name FROM pet WHERE kind = 'dog'": "SELECT name FROM pet WHERE kind LIKE 'dog'",
    "SELECT name FROM pet ORDER BY age": "SELECT name FROM pet ORDER BY age ASC",
    "SELECT count(DISTINCT kind) FROM pet": "SELECT count(DISTINCT pet.kind) FROM pet",
}


def answers(data: Path, wrong: frozenset[int] = frozenset()) -> ScriptedSampler:
    """An opponent that writes every gold differently, and something else for the rows in `wrong`."""
    gold = [row["query"] for row in json.loads((data / "train_spider.json").read_text())]

    def answer(prompt: Prompt, k: int, round_number: int) -> str:
        row = int(prompt.example_id.rpartition("/")[2])
        return "SELECT 42" if row in wrong else SAME_RESULT[gold[row]]

    return ScriptedSampler(answer)


def after_a_round(
    data: Path, directory: Path, preset: str, opponent: ScriptedSampler, *more: str
) -> tuple[str, str]:
    """Digests of the weights before and after one round."""
    config = small(data, "rounds=1", f"learning.preset={preset}", "learning.alpha=0", *more)
    run(config, directory, opponent=opponent)
    found = weights(directory)
    return (
        found["sft/checkpoint/model.safetensors"],
        found["round-1/checkpoint/model.safetensors"],
    )


def test_when_every_candidate_matches_exspin_learns_nothing(
    small_spider: Path, tmp_path: Path
) -> None:
    before, after = after_a_round(
        small_spider, tmp_path / "run", "exspin", answers(small_spider),
        "learning.weight_decay=0.1",
    )  # fmt: skip
    outcomes = [
        row["outcome"] for row in read_jsonl(tmp_path / "run" / "round-1" / "outcomes.jsonl")
    ]
    assert set(outcomes) == {"match"}
    assert before == after


def test_without_contrast_and_anchor_weight_decay_moves_nothing(
    small_spider: Path, tmp_path: Path
) -> None:
    before, after = after_a_round(
        small_spider, tmp_path / "run", "spin", answers(small_spider, frozenset({1, 4})),
        "learning.lambda=0", "learning.weight_decay=0.1",
    )  # fmt: skip
    assert before == after


def test_spin_pushes_down_what_is_right_but_written_differently(
    small_spider: Path, tmp_path: Path
) -> None:
    before, after = after_a_round(small_spider, tmp_path / "run", "spin", answers(small_spider))
    assert before != after


def test_only_wrong_candidates_have_weight(small_spider: Path, tmp_path: Path) -> None:
    wrong = frozenset({1, 4, 9})
    before, after = after_a_round(
        small_spider, tmp_path / "run", "exspin", answers(small_spider, wrong)
    )
    assert before != after
    pairs = list(read_jsonl(tmp_path / "run" / "round-1" / "pairs.jsonl"))
    assert {int(p["example_id"].rpartition("/")[2]) for p in pairs if p["weight"] > 0} == wrong
    assert {p["outcome"] for p in pairs if p["weight"] > 0} == {"mismatch"}


def test_databases_that_are_damaged_inside_are_named_in_rounds_and_in_evaluation(
    small_spider: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    files = {name: small_spider / "database" / name / f"{name}.sqlite" for name in ("zoo", "farm")}
    for file in files.values():
        damage(file)
    said = Said()
    config = small(small_spider, "rounds=1", "prompt.sample_values=0")
    run(config, tmp_path / "run", opponent=answers(small_spider), progress=said)
    damaged = [line for line in said.lines if line.startswith("damaged inside")]
    assert [[name for name, file in files.items() if f"{file} (6)" in line] for line in damaged] == [
        ["farm"], ["zoo"], ["farm"],
    ]  # fmt: skip


def test_answers_are_held_to_names_and_what_could_not_be_is_said_once(
    small_spider: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting(selfplay.HfSampler):
        def sample(self, prompts, **rest):
            self.released += 1
            return super().sample(prompts, **rest)

    monkeypatch.setattr(selfplay, "HfSampler", Counting)
    said = Said()
    run(small(small_spider, "rounds=1", "generation.names=schema"), tmp_path / "run", progress=said)
    lines = [line for line in said.lines if "could not be held" in line]
    assert lines == [
        "heldout: 1 of 6 answers could not be held to the schema's names",
        "dev: 1 of 6 answers could not be held to the schema's names",
        "round 1: 1 of 24 answers could not be held to the schema's names",
        "heldout: 1 of 6 answers could not be held to the schema's names",
        "dev: 1 of 6 answers could not be held to the schema's names",
    ]
    database = load(f"spider:{small_spider}", "dev").databases["farm"]
    guide = Guide(read_schema(database, 0))  # all databases are alike
    for row in read_jsonl(tmp_path / "run" / "round-1" / "candidates.jsonl"):
        assert guide.allows(row["text"]) or "\ufffd" in row["text"], row["text"]


# --- hostile candidates ---------------------------------------------------------------------------------------------

HOSTILE = {
    "DROP TABLE pet": "denied",
    "DELETE FROM pet": "denied",
    "ATTACH 'other.db' AS o": "denied",
    "PRAGMA query_only=0": "denied",
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c": "timeout",
    "SELECT zeroblob(1000000000)": "too_large",
    "SELECT " + "(" * 5000 + "1" + ")" * 5000: "error",
    "SELECT '\ud800' FROM pet": "error",
}


def test_matches_that_fail_on_copies_teach_as_mismatches(
    small_spider: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    opponent = ScriptedSampler(
        lambda prompt, k, t: "SELECT 4"
    )  # right by accident where pets are counted
    config = small(small_spider, "rounds=1", "feedback.copies=4", "learning.preset=exspin")
    run(config, tmp_path / "run", opponent=opponent)
    place = tmp_path / "run" / "round-1"
    details = [row["detail"] for row in read_jsonl(place / "outcomes.jsonl")]
    report = read_json(place / "copies.json")
    assert details.count("accidental") == report["accidental"] == report["checked"] > 0
    assert (report["copies"], report["seed"], report["without_copies"]) == (4, config.seed, {})
    weights_of = {row["candidate"]: row["weight"] for row in read_jsonl(place / "pairs.jsonl")}
    assert min(weights_of.values()) > 0
    assert read_json(place / "scores.json")["dev"]["copies"]["copies"] == 4


def test_a_hostile_opponent_costs_one_outcome_each(small_spider: Path, tmp_path: Path) -> None:
    texts = list(HOSTILE)
    place = {row: texts[row % len(texts)] for row in range(18)}
    opponent = ScriptedSampler(
        lambda prompt, k, t: place[int(prompt.example_id.rpartition("/")[2])]
    )
    files = sorted((small_spider / "database").rglob("*"))
    before = {path: digest_file(path) for path in files if path.is_file()}
    run(
        small(small_spider, "rounds=1", "feedback.timeout_s=0.5"),
        tmp_path / "run",
        opponent=opponent,
    )
    for row in read_jsonl(tmp_path / "run" / "round-1" / "outcomes.jsonl"):
        text = place[int(row["example_id"].rpartition("/")[2])]
        assert row["outcome"] == HOSTILE[text] or (
            text.startswith("PRAGMA") and row["outcome"] == "not_a_query"
        ), text[:60]
    assert sorted((small_spider / "database").rglob("*")) == files
    assert before == {path: digest_file(path) for path in before}


# --- kill -9 --------------------------------------------------------------------------------------------------------

# Runs with shards of four questions and kills itself when the n-th file of a name is about to be put in its place.
KILLED_RUN = """
import os, signal, sys
from pathlib import Path
import exspin.ledger, exspin.selfplay, exspin.train.checkpoint
from exspin.config import load_config
name, count, directory, settings, data = sys.argv[1:]
exspin.selfplay.SHARD = 4
seen = 0
def watch(event, arguments):
    global seen
    if event == "os.rename" and name in str(arguments[1]):
        seen += 1
        if seen > int(count):
            os.kill(os.getpid(), signal.SIGKILL)
if name != "never":
    sys.addaudithook(watch)
exspin.selfplay.run(load_config(Path(settings), [data]), Path(directory))
"""


def play(data: Path, directory: Path, name: str, count: int) -> int:
    arguments = [name, str(count), str(directory), str(SMALL), f"data=spider:{data}"]
    command = [sys.executable, "-c", KILLED_RUN, *arguments]
    return subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    ).returncode


@pytest.mark.slow
def test_kill_9_anywhere_gives_the_same_weights(small_spider: Path, tmp_path: Path) -> None:
    """Killed in SFT, in generation, in the middle of two rounds, in evaluation; the same command each time."""
    assert play(small_spider, tmp_path / "whole", "never", 0) == 0
    wanted = weights(tmp_path / "whole")
    assert len(wanted) == 3
    directory = tmp_path / "killed"
    for name, count in [
        ("sft/resume/step-", 1),
        ("/00000008.jsonl", 0),
        ("round-1/resume/step-", 1),
        ("round-2/resume/step-", 0),
        ("round-2/scores.json", 0),
    ]:
        code = play(small_spider, directory, name, count)
        assert code == -signal.SIGKILL, f"was not killed at {name}"
    assert play(small_spider, directory, "never", 0) == 0
    assert weights(directory) == wanted
    for name in ("round-1/candidates.jsonl", "round-2/candidates.jsonl", "round-2/scores.json"):
        assert (directory / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_every_bar_ends_where_it_said(small_spider: Path, tmp_path: Path) -> None:
    said = Said()
    config = small(small_spider, "rounds=1", "sft.epochs=1.3", "learning.epochs=0.4")
    run(config, tmp_path / "run", progress=said)
    assert [label for label, total, done in said.bars if total != done] == []
    assert {"SFT", "round 1: learning", "answering dev"} <= {label for label, _, _ in said.bars}


# --- who writes, who learns, who is scored ---------------------------------------------------------------------------


def test_who_writes_who_learns_and_who_is_scored(small_spider, tmp_path, monkeypatch):
    seen = []

    class Recording(selfplay.HfSampler):
        def sample(self, prompts, *, round_number, **rest):
            seen.append(
                (
                    "writes",
                    round_number,
                    Path(self.policy.source).parent.name,
                    self.decoding.temperature,
                    self.decoding.seed,
                )
            )
            return super().sample(prompts, round_number=round_number, **rest)

    learn = selfplay.train_round

    def learning(policy, *rest, round_number, **named):
        seen.append(("learns", round_number, Path(policy.source).parent.name))
        return learn(policy, *rest, round_number=round_number, **named)

    monkeypatch.setattr(selfplay, "HfSampler", Recording)
    monkeypatch.setattr(selfplay, "train_round", learning)
    monkeypatch.setattr(selfplay, "SHARD", 5)
    run(small(small_spider, "seed=3", "generation.temperature=0.7"), tmp_path / "run")

    def scored(name):
        return [("writes", 0, name, 0.0, 3)] * 2

    assert seen == [
        *scored("sft"),
        *[("writes", 1, "sft", 0.7, 3)] * 3,
        ("learns", 1, "sft"),
        *scored("round-1"),
        *[("writes", 2, "round-1", 0.7, 3)] * 3,
        ("learns", 2, "round-1"),
        *scored("round-2"),
    ]
    asked = [row["example_id"] for row in read_jsonl(tmp_path / "run/round-1/prompts.jsonl")]
    written = [
        (row["example_id"], row["k"])
        for row in read_jsonl(tmp_path / "run/round-1/candidates.jsonl")
    ]
    assert written == [(name, k) for name in asked for k in range(2)]
    place = tmp_path / "run"
    before, after = (
        digest_file(place / name / "checkpoint/manifest.json") for name in ("sft", "round-1")
    )
    done = read_json(place / "round-1/done.json")
    assert {done[stage]["inputs"]["opponent"] for stage in ("generate", "execute", "train")} == {
        before
    }
    assert done["evaluate"]["inputs"]["policy"] == after


def test_rounds_take_the_next_questions(small_spider, tmp_path):
    run(small(small_spider, "selection.round_questions=5"), tmp_path / "run")
    one, two = (
        {r["example_id"] for r in read_jsonl(tmp_path / f"run/round-{n}/prompts.jsonl")}
        for n in (1, 2)
    )
    assert (len(one), len(two), len(one | two)) == (5, 5, 10)


def test_the_best_round_is_that_of_dev(small_spider, tmp_path, monkeypatch):
    rates = iter([0.1, 0.9, 0.5, 0.1, 0.5, 1.0])  # dev and test of rounds 0, 1, 2
    right = selfplay.evaluate_split

    def scored(*given):
        found = right(*given)
        return replace(found, score=replace(found.score, ex=next(rates)))

    monkeypatch.setattr(selfplay, "evaluate_split", scored)
    run(small(small_spider), tmp_path / "run")
    assert read_json(tmp_path / "run/best.json") == {
        "best_round": 1,
        "split": "heldout",
        "ex": [0.1, 0.5, 0.5],
    }


def test_a_base_model_that_was_changed_is_refused(small_spider, tmp_path):
    """A LoRA run keeps adapters alone: on another base they would mean something else."""
    from exspin.model import make_tiny, save_policy

    texts = ["table pet (pet_id integer primary key, name text) question: SELECT count(*) FROM pet"]
    tiny = TinyConfig(layers=1, width=32, heads=2, vocabulary=400)
    for seed in (0, 5):
        save_policy(make_tiny(texts, tiny, seed=seed, max_tokens=400), tmp_path / "base", notes={})
        options = [f"model={tmp_path / 'base'}", "lora.rank=2", f"rounds={min(seed, 1)}"]
        if seed == 0:
            run(small(small_spider, *options), tmp_path / "run")
        else:
            with pytest.raises(UserError, match="model"):
                run(small(small_spider, *options), tmp_path / "run")


def test_a_context_that_is_too_short_is_said_before_anything_is_written(small_spider, tmp_path):
    from exspin.model import make_tiny, save_policy

    texts = ["table pet (pet_id integer primary key, name text) question: SELECT count(*) FROM pet"]
    tiny = TinyConfig(layers=1, width=32, heads=2, vocabulary=400)
    save_policy(make_tiny(texts, tiny, seed=0, max_tokens=100), tmp_path / "base", notes={})
    options = [
        f"model={tmp_path / 'base'}",
        "prompt.max_tokens=160",
        "generation.max_new_tokens=60",
    ]
    with pytest.raises(UserError, match="pass the model's context of 100"):
        run(small(small_spider, *options), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_said_before_anything_is_written(small_spider, tmp_path):
    with pytest.raises(UserError, match="torch sees no GPU here"):
        run(small(small_spider, "device=cuda"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
