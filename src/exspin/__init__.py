"""exspin: text-to-SQL models that improve by playing against themselves, judged by the database.

Importing this package loads nothing heavy: public names resolve on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Config": "exspin.config",
    "load_config": "exspin.config",
    "load": "exspin.data",
    "execute": "exspin.sql.execute",
    "Database": "exspin.records",
    "Executor": "exspin.sql.execute",
    "Limits": "exspin.sql.engines",
    "run": "exspin.selfplay",
    "evaluate": "exspin.evaluation",
    "score": "exspin.scoring",
    "report": "exspin.reporting",
    "doctor": "exspin.diagnosis",
}

__all__ = [
    "Config",
    "Database",
    "Executor",
    "Limits",
    "__version__",
    "doctor",
    "evaluate",
    "execute",
    "load",
    "load_config",
    "report",
    "run",
    "score",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'exspin' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
