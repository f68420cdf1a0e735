"""How a command ends early: one line and an exit code, whatever the reason."""

from __future__ import annotations

import errno
from typing import Any, NoReturn

import typer
import typer.core

from exspin.cli.console import stderr
from exspin.errors import TrainingStopped, UserError

# What the system refuses and the user can mend, wherever it happens.
_MENDABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)


class Commands(typer.core.TyperGroup):
    """Makes one line and an exit code of whatever ends a command early."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (UserError, TrainingStopped) as error:
            _stop(str(error), error)
        except KeyboardInterrupt as interrupt:
            more = (
                "the same command continues" if ctx.invoked_subcommand == "run" else "not finished"
            )
            stderr.print(f"interrupted; {more}", markup=False)
            raise typer.Exit(130) from interrupt
        except OSError as error:
            if error.errno not in _MENDABLE:
                raise
            where = f"{error.filename}: " if error.filename else ""
            _stop(f"{where}{error.strerror}; free space or choose another place", error)


def _stop(message: str, error: Exception) -> NoReturn:
    stderr.print(f"error: {' '.join(message.split())}", markup=False, style="red")
    raise typer.Exit(2) from error
