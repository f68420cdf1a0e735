"""Every error a user can meet, in one tree.

    ExspinError                  anything exspin raises on purpose; `str(error)` is one line: thing, value, cure
    ├── UserError                the user can mend it; the command line exits with 2
    │   ├── ConfigError          a key, a value or a combination in the configuration
    │   ├── DataError            examples, gold SQL, predictions: names file and line
    │   ├── DatabaseError        a database that is missing, damaged or refused
    │   ├── ModelError           a model or tokenizer that cannot be loaded or used
    │   ├── RunError             the run directory: locked, full, changed, unwritable
    │   └── MissingExtra         an optional dependency is not installed
    └── TrainingStopped          a guard stopped training (loss not finite, wrong reference)

A model's bad SQL is never an error: it is an `Outcome`. Everything else that escapes is a bug of ours (exit code 1).
"""


class ExspinError(Exception):
    """Base of all errors exspin raises on purpose."""


class UserError(ExspinError):
    """The user can mend it: exit code 2, one line, no traceback."""


class ConfigError(UserError):
    """A configuration key or value is wrong."""


class DataError(UserError):
    """An example, a gold query or a prediction file is wrong; the message names file and line."""


class DatabaseError(UserError):
    """A database file is missing, damaged or not a database."""


class ModelError(UserError):
    """A model directory, hub id or tokenizer cannot be used."""


class RunError(UserError):
    """The run directory cannot be used: locked, full, unwritable, or its inputs changed."""


class MissingExtra(UserError):
    """An optional dependency is not installed; the message gives the install command."""

    def __init__(self, wanted: str, package: str, extra: str) -> None:
        super().__init__(
            f"{wanted} needs the package {package!r}, which is not installed: "
            f'pip install "exspin[{extra}]"'
        )


class TrainingStopped(ExspinError):
    """A guard stopped training; the last good checkpoint is kept."""
