"""Training: SFT and the rounds of self-play are one `transformers.Trainer` with one loss.

The reference of a round is the policy as it enters the round (`reference.py`). Data order depends on the seed and nothing
else, and the Trainer neither shuffles nor saves: resume points are ours (`checkpoint.py`), so a killed training goes on
bit for bit. Learning rate: linear warm-up, then a cosine down to a tenth. Gradients are clipped to norm 1.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from exspin.config import LearningConfig, SftConfig, at_round
from exspin.errors import ConfigError, DataError, TrainingStopped
from exspin.ledger import digest_bytes, digest_json, write_json, write_jsonl
from exspin.model import Policy, save_policy
from exspin.presets import Preset, preset
from exspin.progress import Advance
from exspin.records import Example, Outcome, Pair, Prompt
from exspin.train import checkpoint
from exspin.train.batch import Micro, Row, make_rows, plan_steps
from exspin.train.forward import Forward, choose_forward
from exspin.train.log import StepLog, StepSums, TrainingLog
from exspin.train.losses import pair_loss, total
from exspin.train.optimizer import make_optimizer
from exspin.train.reference import (
    ReferenceLogps,
    cached_reference,
    check_reference,
    reference_logps,
)

logger = logging.getLogger(__name__)

# Opens a bar for so many questions, those of the planned steps; what it gives is called as they are learned.
Bar = Callable[[int], AbstractContextManager[Advance]]

FLOOR = 0.1  # the learning rate ends at this share of its peak
CLIP = 1.0
MEASURED_QUESTIONS = 256  # for log-probs before and after


@dataclass(frozen=True, slots=True)
class Settings:
    """What SFT and a round have in common."""

    preset: str
    optimizer: str
    lr: float
    lam: float
    alpha: float
    epochs: float
    bare_share: float  # of the epochs, the first ones: without schema
    batch_size: int
    warmup: float
    weight_decay: float
    save_steps: int


def train_sft(
    policy: Policy,
    examples: Sequence[Example],
    prompts: Sequence[Prompt],
    config: SftConfig,
    *,
    seed: int,
    directory: Path,
    notes: Mapping[str, Any],
    folders: Sequence[Path] = (),
    bar: Bar | None = None,
) -> TrainingLog:
    """Learn gold; the policy's weights change in place and are saved below `directory`.

    Writes `checkpoint/` (with copies of `folders`), `loss.jsonl`, `training.json`. Called again after a kill it continues from the newest resume point.
    `bar` opens when the steps are planned: only then is it known how many questions they hold.
    Raises `TrainingStopped` when a loss is not finite, `RunError` when the place cannot be written.
    """
    settings = Settings(
        preset="sft",
        optimizer=config.optimizer or "adamw",
        lr=at_round(_given(config.lr, "sft.lr"), 1),
        lam=0.0,
        alpha=1.0,
        epochs=config.epochs,
        bare_share=config.bare_share or 0.0,
        batch_size=config.batch_size,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        save_steps=config.save_steps,
    )
    rows = make_rows(policy.tokenizer, policy.end_id, examples, prompts)
    return _train(policy, rows, rows, settings, 0, seed, directory, notes, folders, bar)


def train_round(
    policy: Policy,
    examples: Sequence[Example],
    prompts: Sequence[Prompt],
    pairs: Sequence[Pair],
    config: LearningConfig,
    *,
    round_number: int,
    seed: int,
    directory: Path,
    notes: Mapping[str, Any],
    folders: Sequence[Path] = (),
    bar: Bar | None = None,
) -> TrainingLog:
    """One round: the policy, which enters as its own opponent, learns from the pairs. Otherwise as `train_sft`.

    The reference's log-probs are kept in `directory/reference.safetensors`. Raises `TrainingStopped` also where the
    reference is not the policy that enters.
    """
    rule = preset(config.preset)
    settings = Settings(
        preset=config.preset,
        optimizer="adamw",
        lr=at_round(_given(config.lr, "learning.lr"), round_number),
        lam=at_round(config.lambda_, round_number),
        alpha=rule.alpha if config.alpha is None else at_round(config.alpha, round_number),
        epochs=config.epochs,
        bare_share=0.0,
        batch_size=config.batch_size,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        save_steps=config.save_steps,
    )
    rows = make_rows(policy.tokenizer, policy.end_id, examples, prompts, pairs, rule)
    wrong = [pair for pair in pairs if pair.outcome not in _NOT_WRONG]
    measured = make_rows(
        policy.tokenizer, policy.end_id, examples, prompts, _weighted(wrong), _MEASURE
    )
    return _train(
        policy, rows, measured, settings, round_number, seed, directory, notes, folders, bar
    )


def _given(lr: float | tuple[float, ...] | None, key: str) -> float | tuple[float, ...]:
    """A rate that a resolved configuration has."""
    if lr is None:
        raise ConfigError(f"{key}: give a number, or use Config.resolved(), which fills it in")
    return lr


_NOT_WRONG = (Outcome.MATCH, Outcome.INFRA, Outcome.GOLD_UNUSABLE)
_MEASURE = Preset("measure", dict.fromkeys(Outcome, 1.0), {}, {}, 0.0)


def _weighted(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs at weight 1, whatever the preset makes of them: presets are compared on the same candidates."""
    return [replace(pair, weight=1.0) for pair in pairs]


def _train(
    policy: Policy,
    rows: Sequence[Row],
    measured: Sequence[Row],
    settings: Settings,
    round_number: int,
    seed: int,
    directory: Path,
    notes: Mapping[str, Any],
    folders: Sequence[Path],
    bar: Bar | None,
) -> TrainingLog:
    room = (
        getattr(policy.model.config.get_text_config(), "max_position_embeddings", None) or math.inf
    )
    left_out = tuple(row.example_id for row in rows if row.longest > room)
    if left_out:
        logger.warning(
            "%d questions left out of training: longer than the model's context of %d tokens (%s …)",
            len(left_out), room, left_out[0],
        )  # fmt: skip
    rows = [row for row in rows if row.longest <= room]
    if not rows:
        raise DataError(
            f"no question fits the model's context of {room} tokens; lower prompt.max_tokens"
        )
    measured = [row for row in measured if row.longest <= room][:MEASURED_QUESTIONS]
    questions = len(rows)
    rows, steps = _plan(rows, settings, seed)

    forward = choose_forward(policy, rows)
    before = _means(forward, measured)
    made_from = _fingerprint(policy, rows, settings, seed)
    reference = None
    if any(row.rejected for row in rows):
        reference = cached_reference(directory / "reference.safetensors", forward, rows, made_from)
        check_reference(forward, rows, steps[0], reference, round_number)

    with bar(sum(map(len, steps))) if bar else nullcontext(_ignore) as advance:
        trainer = SelfPlayTrainer(
            forward, rows, reference, steps, settings,
            round_number=round_number, seed=seed, directory=directory, made_from=made_from, progress=advance,
        )  # fmt: skip
        trainer.train()
    trainer.check_weights()
    after = _means(forward, measured)
    log = TrainingLog(
        preset=settings.preset,
        steps=tuple(trainer.lines),
        questions=questions,
        left_out=left_out,
        gold_logp_before=before[0],
        gold_logp_after=after[0],
        candidate_logp_before=before[1],
        candidate_logp_after=after[1],
        seconds=round(trainer.seconds, 1),
    )
    write_jsonl(directory / "loss.jsonl", map(asdict, log.steps))
    write_json(directory / "training.json", log.to_json())
    save_policy(policy, directory / "checkpoint", notes=notes, folders=folders)
    checkpoint.remove(directory / "resume")
    return log


def _ignore(_: int) -> None:
    return None


def _plan(
    rows: Sequence[Row], settings: Settings, seed: int
) -> tuple[Sequence[Row], list[tuple[int, ...]]]:
    """The rows of a training and its steps.

    A model made from scratch learns the language of questions and queries much faster where no schema stands before them
    (docs/experiments.md): the first `bare_share` of the epochs read each row without its prefix.
    """
    bare_epochs = settings.epochs * settings.bare_share
    steps = plan_steps(rows, settings.batch_size, settings.epochs - bare_epochs, seed)
    if bare_epochs == 0:
        return rows, steps
    bare = [replace(row, prefix=()) for row in rows]
    first = plan_steps(bare, settings.batch_size, bare_epochs, seed)
    return [*bare, *rows], first + [tuple(len(bare) + i for i in step) for step in steps]


def _means(forward: Forward, rows: Sequence[Row]) -> tuple[float | None, float | None]:
    """Mean log-prob of gold and of candidates."""
    logps = reference_logps(forward, rows).logps
    gold = torch.stack([each[0] for each in logps]) if logps else torch.zeros(0)
    candidates = torch.cat([each[1:] for each in logps]) if logps else torch.zeros(0)
    return _mean(gold), _mean(candidates)


def _mean(values: Tensor) -> float | None:
    return float(values.double().mean()) if len(values) else None


def _fingerprint(policy: Policy, rows: Sequence[Row], settings: Settings, seed: int) -> str:
    """Digest of everything that the weights after training depend on, the weights before included."""
    weights = {
        name: digest_bytes(p.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        for name, p in policy.model.named_parameters()
        if p.requires_grad
    }
    prefixes = {prefix: digest_json(prefix) for prefix in {row.prefix for row in rows}}
    content = [
        [row.example_id, prefixes[row.prefix], row.rest, row.gold, *map(asdict, row.rejected)]
        for row in rows
    ]
    return digest_json([weights, content, asdict(settings), seed])


class SelfPlayTrainer(Trainer):
    """`transformers.Trainer` whose item is one optimizer step: the rows it learns and our loss on them."""

    def __init__(
        self,
        forward: Forward,
        rows: Sequence[Row],
        reference: ReferenceLogps | None,
        steps: Sequence[tuple[int, ...]],
        settings: Settings,
        *,
        round_number: int,
        seed: int,
        directory: Path,
        made_from: str,
        progress: Advance,
    ) -> None:
        self.forward, self.rows, self.reference, self.settings = forward, rows, reference, settings
        self.round_number, self.directory, self.made_from = round_number, directory, made_from
        self.progress = progress
        self.lines: list[StepLog] = []
        self.started = time.monotonic()
        model = forward.policy.model
        self.optimizer_ = optimizer = make_optimizer(
            model, name=settings.optimizer, lr=settings.lr, weight_decay=settings.weight_decay
        )
        self.done = self._resume(model, optimizer)
        self.steps = steps[self.done :]
        self.progress(sum(map(len, steps[: self.done])))

        def rate(step: int) -> float:
            return _schedule(self.done + step, len(steps), settings.warmup)

        super().__init__(
            model=model,
            args=TrainingArguments(
                output_dir=str(directory),
                use_cpu=forward.policy.device.type == "cpu",
                per_device_train_batch_size=1,
                num_train_epochs=1,
                max_grad_norm=0.0,  # clipped in `training_step`, which logs the norm
                seed=seed,
                save_strategy="no",
                logging_strategy="no",
                eval_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=False,
                remove_unused_columns=False,
            ),
            train_dataset=self.steps,
            callbacks=[_AfterStep(self)],
            optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)),
        )
        self.remove_callback(PrinterCallback)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train what is left; nothing, where every step was done before the kill."""
        return super().train(*args, **kwargs) if self.steps else None

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The planned steps in their order."""
        return DataLoader(self.steps, batch_size=None, collate_fn=lambda step: {"step": step})  # type: ignore[arg-type]

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the Trainer's estimate knows nothing of shared prefixes."""
        return 0

    def training_step(
        self, model: torch.nn.Module, inputs: Any, num_items_in_batch: Any = None
    ) -> Tensor:
        """Gradients of one optimizer step, micro-batch by micro-batch; returns its loss.

        A step in which nothing has weight, or whose gradient is zero, leaves no gradient at all, and the optimizer then
        leaves the weights alone: no decay, no momentum.
        """
        chosen = inputs["step"]
        alpha = self.settings.alpha
        parts = StepSums()
        pairs_in_step = sum(each.share for i in chosen for each in self.rows[i].rejected)
        gold_tokens = sum(len(self.rows[index].gold) for index in chosen)
        for micro in self.forward.cut(self.rows, chosen, alpha=alpha):
            loss = self._micro_loss(micro, pairs_in_step, gold_tokens, parts)
            if not bool(torch.isfinite(loss)):
                raise self._not_finite(
                    f"the loss is not finite ({float(loss.detach())})", micro.rows
                )
            self.accelerator.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(self.forward.policy.model.parameters(), CLIP)
        if not bool(torch.isfinite(norm)):
            raise self._not_finite(f"the gradient is not finite ({float(norm)})", chosen)
        if not bool(norm):  # as where λ = 0 multiplies it: zeros would still let weights decay
            self.optimizer_.zero_grad(set_to_none=True)
        self.pending = parts.log(
            step=self.done + self.state.global_step + 1,
            lr=self.optimizer_.param_groups[-1]["lr"],
            grad_norm=float(norm),
            questions=len(chosen),
            pairs=pairs_in_step,
        )
        return torch.tensor(self.pending.loss, device=self.args.device)

    def _not_finite(self, what: str, rows: Sequence[int]) -> TrainingStopped:
        names = ", ".join(self.rows[index].example_id for index in rows[:3])
        return TrainingStopped(
            f"round {self.round_number}, step {self.done + self.state.global_step + 1}: {what} "
            f"on {names}{' …' if len(rows) > 3 else ''}; lower the learning rate"
        )

    def _micro_loss(
        self, micro: Micro, pairs_in_step: float, gold_tokens: int, parts: StepSums
    ) -> Tensor:
        logps_B = self.forward.answer_logps(micro)
        per_row = torch.split(logps_B, [len(self.rows[index].answers) for index in micro.rows])
        rejected = [each for index in micro.rows for each in self.rows[index].rejected]
        gold_logps = torch.stack([logps[0] for logps in per_row])
        loss_P = weight_P = logps_B.new_zeros(0)
        if rejected:
            assert self.reference is not None
            deltas = [
                self.reference.delta(index, logps)
                for index, logps in zip(micro.rows, per_row, strict=True)
            ]
            delta_candidate_P = torch.cat([delta[1:] for delta in deltas])
            delta_gold_P = torch.cat([delta[:1].expand(len(delta) - 1) for delta in deltas])

            def column(name: str) -> Tensor:
                return logps_B.new_tensor([getattr(each, name) for each in rejected])

            weight_P, share_P = column("weight"), column("share")
            loss_P = pair_loss(
                delta_gold_P, delta_candidate_P, column("r"), column("margin"), self.settings.lam
            )
            candidates_P = torch.cat([logps[1:] for logps in per_row])
            parts.add_pairs(
                weight_P @ loss_P,
                share_P @ candidates_P,
                share_P @ (delta_gold_P - delta_candidate_P),
            )
        loss = total(
            loss_P, weight_P, gold_logps,
            alpha=self.settings.alpha, pairs_in_step=pairs_in_step, gold_tokens_in_step=gold_tokens,
        )  # fmt: skip
        tokens = sum(len(self.rows[index].gold) for index in micro.rows)
        parts.add(loss, gold_logps, tokens)
        return loss

    def _resume(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Put the newest resume point in place; the number of steps already done."""
        point = checkpoint.newest(self.directory / "resume", self.made_from)
        if point is None:
            return 0
        checkpoint.load(point, model, optimizer)
        self.lines = [StepLog(**line) for line in point.notes["lines"]]
        self.started -= point.notes["seconds"]
        logger.info("%s: training continues after step %d", self.directory, point.step)
        return point.step

    def check_weights(self) -> None:
        """Raises `TrainingStopped` where an update left a weight that is not finite, before it is saved anywhere."""
        for name, weight in self.forward.policy.model.named_parameters():
            if weight.requires_grad and not bool(torch.isfinite(weight).all()):
                raise TrainingStopped(
                    f"round {self.round_number}, step {self.done + self.state.global_step}: {name} is not finite any "
                    "more; lower the learning rate"
                )

    def after_step(self) -> None:
        """Keep the step's line; write a resume point where one is due."""
        self.lines.append(self.pending)
        done = self.pending.step
        if done % self.settings.save_steps == 0:
            self.check_weights()
            checkpoint.save(
                self.directory / "resume",
                done,
                self.forward.policy.model,
                self.optimizer_,
                made_from=self.made_from,
                notes={"lines": [asdict(line) for line in self.lines], "seconds": self.seconds},
            )
        self.progress(self.pending.questions)


class _AfterStep(TrainerCallback):
    """The Trainer's word that the weights have been updated."""

    def __init__(self, trainer: SelfPlayTrainer) -> None:
        self.trainer = trainer

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.trainer.after_step()


def _schedule(step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate in a step, 0-based: up over the first `warmup` of them, then a cosine to FLOOR."""
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    progress = (step - rising) / max(1, steps - 1 - rising)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
