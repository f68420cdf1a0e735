"""Learning: rows, losses, the forward pass, the trainer. SFT and the rounds of self-play share all of it."""

from exspin.train.trainer import ReferenceLogps, StepLog, TrainingLog, train_round, train_sft

__all__ = ["ReferenceLogps", "StepLog", "TrainingLog", "train_round", "train_sft"]
