"""The loss against numbers worked by hand."""

import math

import pytest

torch = pytest.importorskip("torch")

from exspin.train.losses import pair_loss, sequence_logps, token_logps, total  # noqa: E402

pytestmark = pytest.mark.train


def column(*values):
    return torch.tensor(values, dtype=torch.float32, requires_grad=True)


def test_a_token_logp_is_its_logit_minus_the_log_of_the_sum():
    """Logits 0 and ln 3: probabilities 1/4 and 3/4."""
    logits_NV = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    found = token_logps(logits_NV, torch.tensor([0, 1]))
    assert found.tolist() == pytest.approx([math.log(1 / 4), math.log(3 / 4)])


def test_an_answer_is_the_sum_of_its_tokens_and_padding_does_not_count():
    """−1 − 2 = −3; and −4 alone, its padding (−9, NaN) left out."""
    logps_BT = torch.tensor([[-1.0, -2.0], [-4.0, float("nan")]])
    mask_BT = torch.tensor([[True, True], [True, False]])
    assert sequence_logps(logps_BT, mask_BT).tolist() == [-3.0, -4.0]


def test_the_loss_starts_at_ln_2():
    zero = column(0.0)
    assert pair_loss(zero, zero, column(1.0), zero, 0.1).item() == pytest.approx(math.log(2))


def test_a_pair_by_hand():
    """Gold gained 2, the candidate lost 3, λ 0.1: margin 0.1·(2 + 3) = 0.5, loss ln(1 + e^−0.5) = 0.474077.

    With r = 0 the candidate plays no part: ln(1 + e^−0.2) = 0.598139. With m = 1 the pair wants more:
    ln(1 + e^(1 − 0.5)) = 0.974077.
    """
    found = pair_loss(
        column(2.0, 2.0, 2.0), column(-3.0, -3.0, -3.0), column(1.0, 0.0, 1.0), column(0, 0, 1), 0.1
    )
    assert found.tolist() == pytest.approx([0.474077, 0.598139, 0.974077], abs=1e-6)


def test_learning_raises_gold_and_lowers_the_candidate():
    gold, candidate = column(0.0), column(0.0)
    pair_loss(gold, candidate, column(1.0), column(0.0), 0.1).backward()
    # d softplus(−z)/dz at 0 is −1/2, times λ
    assert gold.grad.item() == pytest.approx(-0.05)
    assert candidate.grad.item() == pytest.approx(+0.05)


def test_with_r_0_the_candidate_has_no_gradient():
    gold, candidate = column(1.0), column(1.0)
    pair_loss(gold, candidate, column(0.0), column(0.0), 0.1).backward()
    assert candidate.grad.item() == 0
    assert gold.grad.item() < 0


@pytest.mark.parametrize("delta", [1e4, -1e4])
def test_far_log_probs_give_finite_losses_and_gradients(delta):
    gold, candidate = column(delta), column(-delta)
    loss = pair_loss(gold, candidate, column(1.0), column(0.0), 5.0)
    loss.backward()
    assert torch.isfinite(loss).all() and torch.isfinite(gold.grad).all()
    # Far on the wrong side the loss is the margin itself, λ·2·10⁴; far on the right side nothing.
    assert loss.item() == pytest.approx(max(0.0, -5.0 * 2 * delta))


def test_impossible_tokens_give_finite_losses():
    logits_NV = torch.tensor([[1e4, 0.0]], requires_grad=True)
    found = token_logps(logits_NV, torch.tensor([1]))
    found.sum().backward()
    assert found.item() == -1e4
    assert torch.isfinite(logits_NV.grad).all()


def test_the_total_by_hand():
    """Two pairs of losses 1 and 3 with weights 1 and 0.5 in a step of two: (1 + 1.5)/2 = 1.25.

    Gold log-probs −6 and −4 over 5 gold tokens: NLL 2. With α = 0.5 the total is 1.25 + 1 = 2.25.
    """
    found = total(
        column(1.0, 3.0),
        column(1.0, 0.5),
        column(-6.0, -4.0),
        alpha=0.5,
        pairs_in_step=2,
        gold_tokens_in_step=5,
    )
    assert found.item() == pytest.approx(2.25)


def test_micro_batches_add_up_to_the_step():
    def share(rows):
        losses, weights, golds = zip(*rows, strict=True)
        return total(
            column(*losses),
            column(*weights),
            column(*golds),
            alpha=0.3,
            pairs_in_step=3,
            gold_tokens_in_step=12,
        ).item()

    rows = [(0.5, 1.0, -3.0), (0.7, 0.5, -2.0), (1.9, 1.0, -9.0)]
    assert share(rows[:1]) + share(rows[1:]) == pytest.approx(share(rows))


def test_without_pairs_and_without_alpha_nothing_is_left():
    none = torch.zeros(0)
    loss = total(none, none, column(-5.0), alpha=0.0, pairs_in_step=0, gold_tokens_in_step=3)
    assert loss.item() == 0 and not loss.requires_grad
