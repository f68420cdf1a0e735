"""exspin: text-to-SQL models that improve by playing against themselves, judged by the database.

Importing this package loads nothing heavy: public names resolve on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "audit": "exspin.auditing",
    "Config": "exspin.config",
    "load_config": "exspin.config",
    "load": "exspin.data",
    "load_gold": "exspin.data",
    "link_eval": "exspin.hints.linking",
    "link_train": "exspin.hints.linking",
    "execute": "exspin.sql.execute",
    "Database": "exspin.records",
    "Executor": "exspin.sql.execute",
    "Limits": "exspin.sql.engines",
    "run": "exspin.selfplay",
    "evaluate": "exspin.evaluation",
    "score": "exspin.scoring",
    "score_files": "exspin.scoring",
    "report": "exspin.reporting",
    "doctor": "exspin.diagnosis",
}

__all__ = [
    "Config",
    "Database",
    "Executor",
    "Limits",
    "__version__",
    "audit",
    "doctor",
    "evaluate",
    "execute",
    "link_eval",
    "link_train",
    "load",
    "load_config",
    "load_gold",
    "report",
    "run",
    "score",
    "score_files",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'exspin' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
