"""Learning: rows, losses, the forward pass, the trainer. SFT and the rounds of self-play share all of it."""

from exspin.train.log import StepLog, TrainingLog
from exspin.train.reference import ReferenceLogps
from exspin.train.trainer import train_round, train_sft

__all__ = ["ReferenceLogps", "StepLog", "TrainingLog", "train_round", "train_sft"]
