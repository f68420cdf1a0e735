"""Every setting, schedule, weight and stored file reaches what it is for: each test here failed on a broken copy."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from exspin.config import LearningConfig
from exspin.errors import ConfigError, TrainingStopped
from exspin.model import load_policy, save_policy
from exspin.presets import Preset
from exspin.records import Outcome
from exspin.train import checkpoint
from exspin.train import reference as reference_module
from exspin.train import trainer as trainer_module
from exspin.train.batch import Rejected, Row, make_rows
from exspin.train.forward import Forward, Way
from exspin.train.optimizer import make_optimizer
from exspin.train.trainer import _schedule

pytestmark = pytest.mark.train


def test_the_rate_of_every_step_is_the_schedules(world, tmp_path):
    log = world.sft(world.policy(), tmp_path, epochs=3, lr=1e-3, warmup=0.3, optimizer="adamw")
    assert [line.lr for line in log.steps] == pytest.approx(
        [1e-3 * _schedule(i, 6, 0.3) for i in range(6)]
    )


def test_a_gradient_is_clipped_to_norm_one(world, tmp_path, monkeypatch):
    """Plain gradient descent at rate 0.1 moves the weights by a tenth, though the gradient is longer."""
    monkeypatch.setattr(
        trainer_module,
        "make_optimizer",
        lambda model, **_: torch.optim.SGD(model.parameters(), lr=0.1),
    )
    policy = world.policy()
    before = world.weights(policy)
    log = world.sft(policy, tmp_path, epochs=1, batch_size=6, warmup=0.0)
    moved = math.sqrt(
        sum(float((world.weights(policy)[n] - before[n]).pow(2).sum()) for n in before)
    )
    assert log.steps[0].grad_norm > 1.5
    assert moved == pytest.approx(0.1, rel=1e-3)


def test_a_round_takes_its_own_numbers_from_the_schedules(world, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(trainer_module, "_train", lambda *given: seen.append(given[3]))
    for more in ({"alpha": (0.5, 0.25)}, {}):
        config = LearningConfig(
            **{
                "preset": "exspin-anchored",
                "lr": (1e-3, 2e-3),
                "lambda": (0.1, 0.3),
                "weight_decay": 0.4,
                **more,
            }
        )
        trainer_module.train_round(
            world.policy(),
            world.examples,
            world.prompts,
            [],
            config,
            round_number=2,
            seed=0,
            directory=tmp_path,
            notes={},
        )
    assert [(s.lr, s.lam, s.alpha, s.weight_decay) for s in seen] == [
        (2e-3, 0.3, 0.25, 0.4),
        (2e-3, 0.3, 1.0, 0.4),
    ]


def test_the_fingerprint_sees_weights_rows_settings_and_seed(world):
    policy = world.policy()
    rows = make_rows(policy.tokenizer, policy.end_id, world.examples, world.prompts)
    base = trainer_module.Settings("sft", "adamw", 1e-3, 0.0, 1.0, 1.0, 0.0, 3, 0.0, 0.0, 1)
    found = [
        trainer_module._fingerprint(policy, rows, base, 0),
        trainer_module._fingerprint(policy, rows, base, 1),
        trainer_module._fingerprint(policy, rows[1:], base, 0),
        trainer_module._fingerprint(policy, rows, replace(base, lr=2e-3), 0),
        trainer_module._fingerprint(world.policy(seed=1), rows, base, 0),
    ]
    assert len(set(found)) == 5 and found[0] == trainer_module._fingerprint(
        world.policy(), rows, base, 0
    )


@pytest.mark.parametrize(
    "name", [*(f.name for f in fields(Row)), *(f.name for f in fields(Rejected))]
)
def test_the_fingerprint_sees_every_part_of_a_row(world, name):
    policy = world.policy()
    base = trainer_module.Settings("sft", "adamw", 1e-3, 0.0, 1.0, 1.0, 0.0, 3, 0.0, 0.0, 1)
    rejected = Rejected(k=1, ids=(2, 3), weight=1.0, share=0.5, r=1.0, margin=0.0)
    row = Row("t/0", (1, 2), (3,), (4, 5), (rejected,))
    if name in {f.name for f in fields(Rejected)}:
        value = (9,) if name == "ids" else 7
        other = replace(row, rejected=(replace(rejected, **{name: value}),))
    else:
        other = replace(
            row, **{name: "t/1" if name == "example_id" else () if name == "rejected" else (9,)}
        )
    one, two = (trainer_module._fingerprint(policy, [r], base, 0) for r in (row, other))
    assert one != two


HALF = Preset(
    "exspin", {Outcome.MISMATCH: 0.5}, {Outcome.MISMATCH: 0.25}, {Outcome.MISMATCH: 1.0}, 0.0
)


def test_weight_r_and_margin_of_a_preset_reach_the_loss(world, tmp_path, monkeypatch):
    """Half of softplus(1) = 0.656631: the weight is in the sum, not in the divisor. r scales the candidate's gradient."""
    (pair,) = world.pairs("exspin", wrong={"t/0": world.wrong["t/0"]})
    pair = replace(pair, weight=0.5)
    policy = world.policy()
    (row, *_) = make_rows(
        policy.tokenizer, policy.end_id, world.examples, world.prompts, [pair], HALF
    )
    assert [(r.weight, r.share, r.r, r.margin) for r in row.rejected] == [(0.5, 1.0, 0.25, 1.0)]
    seen = []
    right = trainer_module.pair_loss
    monkeypatch.setattr(trainer_module, "preset", lambda _: HALF)
    monkeypatch.setattr(
        trainer_module,
        "pair_loss",
        lambda *given: (seen.append(given[2].tolist()), right(*given))[1],
    )
    log = world.round(policy, [pair], tmp_path, preset="exspin", batch_size=6)
    assert log.steps[0].loss == pytest.approx(0.5 * math.log(1 + math.e), abs=1e-4)
    assert seen == [[0.25]]


def test_only_matrices_decay(world):
    optimizer = make_optimizer(world.policy().model, name="adamw", lr=1e-3, weight_decay=0.3)
    assert {(p.dim(), g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]} == {
        (2, 0.3),
        (1, 0.0),
    }


def test_decay_reaches_the_weights(world, tmp_path):
    one, two = world.policy(), world.policy()
    world.sft(one, tmp_path / "1", optimizer="adamw", weight_decay=0.0)
    world.sft(two, tmp_path / "2", optimizer="adamw", weight_decay=0.5)
    assert not world.same_bits(world.weights(one), world.weights(two))


def test_a_reference_that_is_no_number_stops_the_round(world):
    policy = world.policy()
    forward = Forward(policy, Way.FULL, 2000)
    rows = make_rows(policy.tokenizer, policy.end_id, world.examples, world.prompts)
    right = reference_module.reference_logps(forward, rows)
    reference_module.check_reference(forward, rows, [0, 1], right, 1)
    wrong = reference_module.ReferenceLogps(tuple(x * float("nan") for x in right.logps))
    with pytest.raises(TrainingStopped, match="wrong reference"):
        reference_module.check_reference(forward, rows, [0, 1], wrong, 1)


def test_a_reference_of_other_weights_is_made_again(world, tmp_path):
    pairs = world.pairs("spin", wrong=world.wrong)
    world.round(world.policy(seed=1), pairs, tmp_path, preset="spin")
    one, two = world.policy(), world.policy()
    world.round(one, pairs, tmp_path, preset="spin")
    world.round(two, pairs, tmp_path / "clean", preset="spin")
    assert world.same_bits(world.weights(one), world.weights(two))


def test_the_passes_without_schema_are_the_share_asked_for(world, tmp_path):
    policy = world.policy()
    rows = make_rows(policy.tokenizer, policy.end_id, world.examples, world.prompts)
    base = trainer_module.Settings("sft", "adamw", 1e-3, 0.0, 1.0, 4.0, 0.25, 3, 0.0, 0.0, 1)
    both, steps = trainer_module._plan(rows, base, 0)
    assert [{bool(both[i].prefix) for i in s} for s in steps] == [{False}] * 2 + [{True}] * 6


def test_resume_points_are_written_where_due(world, tmp_path, monkeypatch):
    seen, save = [], checkpoint.save
    monkeypatch.setattr(
        checkpoint, "save", lambda d, step, *a, **k: (seen.append(step), save(d, step, *a, **k))
    )
    world.sft(world.policy(), tmp_path, epochs=3, save_steps=2)
    assert seen == [2, 4, 6]


def test_the_point_before_stays_until_the_new_one_is_in_place(tmp_path, monkeypatch):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    checkpoint.save(tmp_path, 2, model, optimizer, made_from="rows", notes={})

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, 4, model, optimizer, made_from="rows", notes={})
    assert checkpoint.newest(tmp_path, "rows").step == 2


def test_a_cached_reference_with_flipped_bits_is_made_again(world, tmp_path):
    """Safetensors has no checksum: another number in the file would be believed."""
    pairs = world.pairs("spin", wrong=world.wrong)
    one, two = world.policy(), world.policy()
    world.round(one, pairs, tmp_path, preset="spin")
    path = tmp_path / "reference.safetensors"
    with safe_open(path, framework="pt") as file:
        notes, logps = file.metadata(), file.get_tensor("logps")
    logps[-1] += 8.0
    save_file({"logps": logps}, path, notes)
    world.round(two, pairs, tmp_path, preset="spin")
    assert world.same_bits(world.weights(one), world.weights(two))


def test_every_training_has_a_step(world, tmp_path):
    log = world.sft(world.policy(), tmp_path / "sft", epochs=1, batch_size=32, bare_share=0.5)
    assert len(log.steps) == 2
    pairs = world.pairs("spin", wrong=world.wrong)
    log = world.round(world.policy(), pairs, tmp_path / "round", preset="spin", epochs=0.1)
    assert len(log.steps) == 1


def test_weights_that_are_not_finite_are_never_saved(world, tmp_path):
    with pytest.raises(TrainingStopped, match="is not finite any more; lower the learning rate"):
        world.sft(world.policy(), tmp_path, epochs=1, lr=1e38, batch_size=6)
    assert not (tmp_path / "checkpoint").exists()


def test_what_cannot_be_trained_is_said_in_one_line(world, tmp_path):
    policy = world.lora_policy(tmp_path / "base")
    save_policy(policy, tmp_path / "adapter", notes={})
    with pytest.raises(ConfigError, match="use adamw with LoRA"):
        world.sft(policy, tmp_path / "1", optimizer="muon")
    frozen = load_policy(tmp_path / "adapter", device="cpu", dtype="float32")
    with pytest.raises(ConfigError, match=r"set lora\.rank"):
        world.sft(frozen, tmp_path / "2")
