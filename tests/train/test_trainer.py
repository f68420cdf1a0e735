"""Training: feedback reaches the update, the reference is right, a kill costs nothing."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch

from exspin.errors import DataError, TrainingStopped
from exspin.ledger import read_jsonl
from exspin.model import load_policy
from exspin.train import forward as forward_module
from exspin.train import reference as reference_module
from exspin.train import trainer as trainer_module
from exspin.train.trainer import _schedule

pytestmark = pytest.mark.train


def files(directory):
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())


# --- supervised fine-tuning ------------------------------------------------------------------------------------------


def test_sft_learns_gold_and_leaves_its_files_and_nothing_else(world, tmp_path, capfd):
    policy = world.policy()
    log = world.sft(policy, tmp_path, epochs=30, lr=1e-2, optimizer="muon")
    assert log.steps[-1].nll < 1 < 5 < log.steps[0].nll
    assert log.gold_logp_before < -40 < -20 < log.gold_logp_after
    assert {Path(name).parts[0] for name in files(tmp_path)} == {
        "checkpoint",
        "loss.jsonl",
        "training.json",
    }
    saved = load_policy(tmp_path / "checkpoint", device="cpu", dtype="float32")
    assert world.same_bits(world.weights(policy), world.weights(saved))
    lines = list(read_jsonl(tmp_path / "loss.jsonl"))
    assert [line["step"] for line in lines] == list(range(1, 61))
    assert json.loads((tmp_path / "training.json").read_text())["steps"] == 60
    assert capfd.readouterr().out == ""


def test_the_loss_of_a_step_is_the_mean_over_its_gold_tokens(world, tmp_path):
    """One step with all six questions: minus the sum of their log-probs over the sum of their lengths."""
    policy = world.policy()
    rows = trainer_module.make_rows(policy.tokenizer, policy.end_id, world.examples, world.prompts)
    log = world.sft(policy, tmp_path, epochs=1, batch_size=6)
    tokens = sum(len(row.gold) for row in rows)
    assert log.steps[0].nll == pytest.approx(-log.gold_logp_before * 6 / tokens, rel=1e-5)
    assert log.steps[0].loss == pytest.approx(log.steps[0].nll, rel=1e-6)


def test_the_first_passes_show_no_schema(world, tmp_path, monkeypatch):
    seen = []
    forward = forward_module.Forward

    def recording(self, rows, chosen, *, alpha=1.0, cut=forward.cut):
        seen.append({bool(rows[index].prefix) for index in chosen})
        return cut(self, rows, chosen, alpha=alpha)

    monkeypatch.setattr(forward, "cut", recording)
    log = world.sft(world.policy(), tmp_path, epochs=4, bare_share=0.5)
    assert log.questions == 6 and len(log.steps) == 8
    steps = seen[-9:-1]  # before and after them, log-probs are measured
    assert steps == [{False}] * 4 + [{True}] * 4


def test_how_a_step_is_cut_into_micro_batches_changes_nothing(world, tmp_path, monkeypatch):
    whole, cut = world.policy(), world.policy()
    pairs = world.pairs("spin", wrong=world.wrong, same=world.same)
    first = world.round(whole, pairs, tmp_path / "whole", preset="spin", alpha=0.5, batch_size=6)
    monkeypatch.setattr(forward_module, "_budget", lambda _: 1)  # each row alone
    second = world.round(cut, pairs, tmp_path / "cut", preset="spin", alpha=0.5, batch_size=6)
    assert first.steps[0].loss == pytest.approx(second.steps[0].loss, rel=1e-5)
    assert first.steps[0].grad_norm == pytest.approx(second.steps[0].grad_norm, rel=1e-4)


def test_progress_counts_questions(world, tmp_path):
    """The bar is as long as the planned steps, which a fraction of an epoch rounds, bare and whole passes apart."""
    totals, seen = [], []

    def bar(total):
        totals.append(total)
        return nullcontext(seen.append)

    policy = world.policy()
    config = trainer_module.SftConfig(epochs=1.2, bare_share=0.5, lr=1.5e-3, batch_size=3)
    trainer_module.train_sft(
        policy, world.examples, world.prompts, config, seed=0, directory=tmp_path, notes={}, bar=bar,
    )  # fmt: skip
    assert [sum(seen)] == totals == [6]


def test_the_seed_decides_and_nothing_else(world, tmp_path):
    one, two, other = (world.policy() for _ in range(3))
    torch.manual_seed(1)
    world.sft(one, tmp_path / "1", seed=5)
    torch.manual_seed(2)
    world.sft(two, tmp_path / "2", seed=5)
    world.sft(other, tmp_path / "3", seed=6)
    assert world.same_bits(world.weights(one), world.weights(two))
    assert not world.same_bits(world.weights(one), world.weights(other))


def test_questions_longer_than_the_context_are_left_out_and_counted(world, tmp_path, caplog):
    policy = world.policy()
    rows = trainer_module.make_rows(policy.tokenizer, policy.end_id, world.examples, world.prompts)
    lengths = sorted(row.longest for row in rows)
    policy.model.config.max_position_embeddings = lengths[-2]
    with caplog.at_level(logging.WARNING):
        log = world.sft(policy, tmp_path)
    assert (len(log.left_out), log.questions) == (1, 5)
    assert "1 questions left out of training" in caplog.text
    policy.model.config.max_position_embeddings = lengths[0] - 1
    with pytest.raises(DataError, match="no question fits the model's context"):
        world.sft(policy, tmp_path)


def test_the_learning_rate_rises_then_falls_to_a_tenth():
    """Ten steps, two of them rising: 1/2, 1, then a cosine from 1 to 0.1 over the eight that follow."""
    rates = [_schedule(step, 10, 0.2) for step in range(10)]
    assert rates[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert rates[-1] == pytest.approx(0.1)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert _schedule(0, 1, 0.0) == 1.0


# --- feedback reaches the update ------------------------------------------------------------------------------------


def test_exspin_learns_nothing_where_every_candidate_matches(world, tmp_path):
    """No gradient, no decay, no momentum: the same bits."""
    policy = world.policy()
    before = world.weights(policy)
    pairs = world.pairs("exspin", same=world.same)
    log = world.round(policy, pairs, tmp_path, preset="exspin", epochs=3, weight_decay=0.5, lr=0.1)
    assert world.same_bits(before, world.weights(policy))
    assert len(log.steps) == 6 and all(line.loss == 0 for line in log.steps)


def test_a_step_without_wrong_candidates_changes_nothing_after_one_that_had_them(world, tmp_path):
    """Momentum of an earlier step must not move the weights in a later one that has nothing to learn."""
    policy = world.policy()
    pairs = world.pairs("exspin", wrong={"t/0": world.wrong["t/0"]}, same=world.same)
    seen = []
    config = trainer_module.LearningConfig(preset="exspin", batch_size=1, weight_decay=0.5, lr=0.1)
    trainer_module.train_round(
        policy, world.examples, world.prompts, pairs, config, round_number=1, seed=0, directory=tmp_path, notes={},
        bar=lambda total: nullcontext(lambda count: seen.append((count, world.weights(policy)))),
    )  # fmt: skip
    changed = [not world.same_bits(before, after) for (_, before), (_, after) in pairwise(seen)]
    assert sum(changed) == 1


def test_spin_learns_from_equivalent_sql_written_differently(world, tmp_path):
    policy = world.policy()
    before = world.weights(policy)
    log = world.round(policy, world.pairs("spin", same=world.same), tmp_path, preset="spin")
    assert not world.same_bits(before, world.weights(policy))
    assert log.candidate_logp_before is None  # none is wrong


def test_with_mixed_outcomes_only_wrong_candidates_enter_the_gradient(world, tmp_path):
    mixed, alone = world.policy(), world.policy()
    both = world.pairs("exspin", wrong=world.wrong, same=world.same)
    assert len(both) == 5
    first = world.round(mixed, both, tmp_path / "mixed", preset="exspin")
    second = world.round(
        alone, world.pairs("exspin", wrong=world.wrong), tmp_path / "alone", preset="exspin"
    )
    assert world.same_bits(world.weights(mixed), world.weights(alone))
    assert first.steps == second.steps
    assert not world.same_bits(world.weights(mixed), world.weights(world.policy()))


def test_the_anchor_holds_every_gold_also_where_no_candidate_is_wrong(world, tmp_path):
    """Without wrong candidates exspin-anchored is SFT on all questions of the round."""
    anchored, taught = world.policy(), world.policy()
    same = world.pairs("exspin-anchored", same=world.same)
    world.round(anchored, same, tmp_path / "a", preset="exspin-anchored")
    world.round(taught, [], tmp_path / "b", preset="sft")
    assert world.same_bits(world.weights(anchored), world.weights(taught))
    assert not world.same_bits(world.weights(anchored), world.weights(world.policy()))


def test_a_round_pushes_wrong_candidates_down_against_gold(world, tmp_path):
    policy = world.policy()
    pairs = world.pairs("exspin", wrong=world.wrong)
    log = world.round(policy, pairs, tmp_path, preset="exspin", epochs=8, lr=3e-3, **{"lambda": 1.0})  # fmt: skip
    assert log.steps[-1].pair < log.steps[0].pair
    before = log.gold_logp_before - log.candidate_logp_before
    assert log.gold_logp_after - log.candidate_logp_after > before


def test_merged_twins_teach_what_they_taught_apart(world, tmp_path):
    """Two equal candidates of one question are one pair of twice the weight: the same loss as one candidate alone."""
    (pair,) = world.pairs("exspin", wrong={"t/0": world.wrong["t/0"]})
    one, two = world.policy(), world.policy()
    half = trainer_module.replace(pair, weight=0.5)
    twins = [half, trainer_module.replace(half, k=1)]
    first = world.round(one, [pair], tmp_path / "1", preset="exspin", batch_size=6)
    second = world.round(two, twins, tmp_path / "2", preset="exspin", batch_size=6)
    assert first.steps[0].loss == pytest.approx(second.steps[0].loss)
    assert first.steps[0].grad_norm == pytest.approx(second.steps[0].grad_norm, rel=1e-4)


# --- the reference ---------------------------------------------------------------------------------------------------


def test_a_round_starts_at_ln_2_with_no_margin(world, tmp_path):
    policy = world.policy()
    log = world.round(policy, world.pairs("spin", wrong=world.wrong), tmp_path, preset="spin", batch_size=6)  # fmt: skip
    assert log.steps[0].pair == pytest.approx(math.log(2), abs=1e-5)
    assert log.steps[0].margin == pytest.approx(0, abs=1e-3)
    assert (tmp_path / "reference.safetensors").exists()


def test_a_reference_that_is_another_model_stops_the_round(world, tmp_path, monkeypatch):
    """Its log-probs were computed by other weights."""
    right = reference_module.reference_logps

    def wrong(forward, rows):
        other = forward_module.Forward(world.policy(seed=1), forward.way, forward.budget)
        return right(other, rows)

    monkeypatch.setattr(reference_module, "reference_logps", wrong)
    policy = world.policy()
    before = world.weights(policy)
    with pytest.raises(TrainingStopped, match=r"round 1: wrong reference: t/\d starts"):
        world.round(policy, world.pairs("spin", wrong=world.wrong), tmp_path, preset="spin")
    assert world.same_bits(before, world.weights(policy))
    assert not (tmp_path / "checkpoint").exists()


def test_a_damaged_cached_reference_is_made_again(world, tmp_path):
    pairs = world.pairs("spin", wrong=world.wrong)
    (tmp_path / "reference.safetensors").write_bytes(b"half a file")
    one, two = world.policy(), world.policy()
    world.round(one, pairs, tmp_path, preset="spin")
    world.round(two, pairs, tmp_path / "clean", preset="spin")
    assert world.same_bits(world.weights(one), world.weights(two))


def test_with_lora_the_reference_is_the_adapter_of_the_round_before(world, tmp_path):
    """Round 2 starts at ln 2 from the adapter that round 1 left, not from the base; the base never changes."""
    policy = world.lora_policy(tmp_path / "base")
    start = world.weights(policy)
    pairs = world.pairs("spin", wrong=world.wrong)
    for number in (1, 2):
        log = world.round(policy, pairs, tmp_path / str(number), preset="spin", lr=1e-2, batch_size=6)  # fmt: skip
        assert log.steps[0].pair == pytest.approx(math.log(2), abs=1e-5)
    now = world.weights(policy)
    moved = {name for name in now if not torch.equal(now[name], start[name])}
    assert moved and all("lora_" in name for name in moved)
    assert "adapter_model.safetensors" in files(tmp_path / "2" / "checkpoint")


def test_pairs_of_another_preset_are_refused(world, tmp_path):
    with pytest.raises(
        DataError, match="t/2: its candidate has weight, which preset 'exspin' gives"
    ):
        world.round(world.policy(), world.pairs("spin", same=world.same), tmp_path, preset="exspin")


# --- guards ----------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_training_and_says_where(world, tmp_path):
    policy = world.policy()
    with pytest.raises(
        TrainingStopped,
        match=r"round 0, step [234]: the (loss|gradient) is not finite \((nan|inf)\) on t/\d",
    ):
        world.sft(policy, tmp_path, lr=1e30, save_steps=1)
    assert not (tmp_path / "checkpoint").exists()
    assert any((tmp_path / "resume").iterdir())  # the last good weights are kept


# --- after a kill ----------------------------------------------------------------------------------------------------


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop_after", [1, 2, 5])
def test_a_round_that_was_stopped_ends_with_the_same_bits(stop_after, world, tmp_path, monkeypatch):
    pairs = world.pairs("exspin-anchored", wrong=world.wrong, same=world.same)
    settings = {"epochs": 3, "weight_decay": 0.01, "save_steps": 2, "preset": "exspin-anchored"}
    whole = world.policy()
    full = world.round(whole, pairs, tmp_path / "whole", **settings)

    after_step = trainer_module.SelfPlayTrainer.after_step

    def stopping(self):
        after_step(self)
        if self.pending.step == stop_after:
            raise Stop

    monkeypatch.setattr(trainer_module.SelfPlayTrainer, "after_step", stopping)
    with pytest.raises(Stop):
        world.round(world.policy(), pairs, tmp_path / "stopped", **settings)
    monkeypatch.undo()
    resumed = world.policy()
    log = world.round(resumed, pairs, tmp_path / "stopped", **settings)
    assert world.same_bits(world.weights(whole), world.weights(resumed))
    assert log.steps == full.steps
    assert (tmp_path / "whole/loss.jsonl").read_bytes() == (tmp_path / "stopped/loss.jsonl").read_bytes()  # fmt: skip
    assert not (tmp_path / "stopped/resume").exists()


CHILD = """
    import os, runpy, signal, sys
    from pathlib import Path
    import torch
    from exspin.train import checkpoint
    torch.set_num_threads(1)
    conftest, directory, instant = sys.argv[1:]
    world = runpy.run_path(conftest)["World"]()
    replace, rename = os.replace, Path.rename

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def killing_rename(self, target):
        if instant == "while a point is written" and self.name == "step-00000006.tmp":
            die()
        return rename(self, target)

    Path.rename = killing_rename
    save = checkpoint.save

    def killing_save(directory, step, *rest, **named):
        if instant == "before a point is written" and step == 4:
            die()
        save(directory, step, *rest, **named)

    checkpoint.save = killing_save
    world.sft(world.policy(), Path(directory), epochs=4)
"""


def test_sft_after_kill_9_ends_with_the_same_bits(world, tmp_path):
    """Killed before one resume point, and killed with the next one half written; then left to finish."""
    conftest = str(Path(__file__).with_name("conftest.py"))

    def run(directory, instant):
        command = [sys.executable, "-c", textwrap.dedent(CHILD), conftest, str(directory), instant]
        return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))

    whole = run(tmp_path / "whole", "never")
    assert whole.returncode == 0, whole.stderr
    for instant in ("before a point is written", "while a point is written"):
        assert run(tmp_path / "killed", instant).returncode == -signal.SIGKILL
        assert not (tmp_path / "killed/checkpoint").exists()
    assert run(tmp_path / "killed", "never").returncode == 0
    for name in ("checkpoint/model.safetensors", "loss.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    assert files(tmp_path / "whole") == files(tmp_path / "killed")


def test_muon_is_the_one_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """All matrices of a shape at once, tall ones turned; `torch.optim.Muon` takes them one by one, in bfloat16."""
    from exspin.train import optimizer as optimizer_module
    from exspin.train.optimizer import Muon

    monkeypatch.setattr(optimizer_module, "_working_dtype", lambda _: torch.bfloat16)

    torch.manual_seed(0)
    shapes = [(16, 16), (16, 16), (40, 16), (16, 40)]
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    optimizers = (
        Muon(ours, lr=0.02, weight_decay=0.1),
        torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1),
    )
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=2e-4)  # a hundredth of one update


def test_muon_follows_the_schedule_and_survives_a_loaded_state() -> None:
    """Accelerate loads the optimizer's own state into it before training: its parts must not keep the old groups."""
    from exspin.train.optimizer import MUON_LR, make_optimizer

    model = torch.nn.Sequential(torch.nn.Embedding(4, 4), torch.nn.Linear(4, 4, bias=False))
    optimizer = make_optimizer(model, name="muon", lr=0.5, weight_decay=0.0)
    optimizer.load_state_dict(optimizer.state_dict())
    assert [group["lr"] for group in optimizer.param_groups] == [MUON_LR * 0.5, 0.5]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [p.detach().clone() for p in model.parameters()]
    model(torch.tensor([1, 2])).sum().backward()
    optimizer.step()
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()
    assert not any(
        torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)
    )
    assert set(optimizer.state) == set(model.parameters())
