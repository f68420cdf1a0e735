"""`spin` without feedback is the sigmoid loss of TRL's DPOTrainer: same model, same pairs, its own forward and loss."""

from __future__ import annotations

import copy

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch

from exspin.presets import preset
from exspin.train.batch import make_rows
from exspin.train.forward import choose_forward
from exspin.train.losses import pair_loss
from exspin.train.reference import reference_logps

pytestmark = [pytest.mark.train, pytest.mark.trl, pytest.mark.filterwarnings("default")]

LAMBDA = 0.1


def test_spin_equals_the_sigmoid_loss_of_dpo(world, tmp_path):
    """The reference is another model, so that every Δ differs from zero."""
    trl = pytest.importorskip("trl", reason="compares with TRL where it is installed")
    datasets = pytest.importorskip("datasets")
    policy, opponent = world.policy(seed=0), world.policy(seed=1)
    pairs = world.pairs("spin", wrong=world.wrong, same=world.same)
    rows = [
        row
        for row in make_rows(
            policy.tokenizer, policy.end_id, world.examples, world.prompts, pairs, preset("spin")
        )
        if row.rejected
    ]
    ours = torch.stack(reference_logps(choose_forward(policy, rows), rows).logps)
    reference = torch.stack(reference_logps(choose_forward(opponent, rows), rows).logps)
    delta = ours - reference
    one, zero = torch.ones(len(rows)), torch.zeros(len(rows))
    loss = pair_loss(delta[:, 0], delta[:, 1], one, zero, LAMBDA).mean()

    texts = [{"prompt": "question", "chosen": "SELECT 1", "rejected": "SELECT 2"}]
    trainer = trl.DPOTrainer(
        model=copy.deepcopy(policy.model),
        ref_model=copy.deepcopy(opponent.model),
        args=trl.DPOConfig(
            output_dir=str(tmp_path),
            beta=LAMBDA,
            loss_type=["sigmoid"],
            max_length=None,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=datasets.Dataset.from_list(texts),
        processing_class=policy.tokenizer,
    )
    trainer.model.eval()
    inputs = trainer.data_collator(
        [
            {
                "prompt_ids": list(row.prefix + row.rest),
                "chosen_ids": list(row.gold),
                "rejected_ids": list(row.rejected[0].ids),
            }
            for row in rows
        ]
    )
    with torch.no_grad():
        theirs = trainer.compute_loss(trainer.model, inputs)
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-5)
    assert abs(delta).min() > 1e-3
