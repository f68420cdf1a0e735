"""Files that survive a kill: atomic writes, digests, finished stages, one run per directory.

A stage writes its outputs `tmp → fsync → rename` and `done.json` last. `done.json` holds the digest of the stage's
inputs and of every output, so a finished stage is reused only when it was made from the same inputs and its files
are whole; anything else is an error that names what changed, or is redone where nothing was finished.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from exspin.errors import DataError, RunError

DONE = "done.json"
LOCK = ".lock"


def digest_bytes(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value."""
    return digest_bytes(json.dumps(value, sort_keys=True, ensure_ascii=True).encode())


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_output(path: Path) -> None:
    """Raises `RunError` where a file could not be written, before the work that would fill it."""
    if path.is_dir():
        raise unwritable(path, IsADirectoryError(errno.EISDIR, "is a directory"))
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise unwritable(path, error) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: a reader sees the old content or the new, never a part.

    Raises `RunError` when the disk is full or the place cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def sync_directory(path: Path) -> None:
    """Make a rename in this directory durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unwritable(path: Path, error: OSError) -> RunError:
    """The one-line error for a place that cannot be written."""
    if error.errno == errno.ENOSPC:
        return RunError(f"{path}: the disk is full; free some space and run the same command again")
    return RunError(f"{path}: cannot be written ({error.strerror}); choose another place")


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON; a damaged file is a `DataError` that names it."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, atomically. Lone surrogates survive as escapes."""
    write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Read what `write_jsonl` wrote; a damaged line is a `DataError` with its number."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}:{number}: not JSON ({error})") from error
            yield row


class Stage:
    """One directory whose outputs count only once `done.json` is there.

    `inputs` maps a name to a digest of what the stage is made from. `is_done()` is True when the stage was finished
    from the same inputs and its files are whole; it raises `RunError` when it was finished from other inputs or when
    some of its files are damaged or gone. One whose files are all gone is not done: deleting them has it made again,
    and with it the stages that were finished after it.
    """

    def __init__(self, directory: Path, name: str, inputs: Mapping[str, str]) -> None:
        self.directory = directory
        self.name = name
        self.inputs = dict(inputs)

    @property
    def _record(self) -> Path:
        return self.directory / DONE

    def _read(self) -> dict[str, Any]:
        if not self._record.exists():
            return {}
        try:
            record = dict(read_json(self._record))
            for entry in record.values():
                _ = dict(entry["inputs"]), dict(entry["outputs"])
        except (DataError, KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"{self._record}: damaged, so that nothing says which stages are finished; put it back, or delete "
                f"{self.directory} to make all of it again"
            ) from error
        return record

    def is_done(self) -> bool:
        entry = self._read().get(self.name)
        if entry is None:
            return False
        changed = sorted(
            key
            for key in {*entry["inputs"], *self.inputs}
            if entry["inputs"].get(key) != self.inputs.get(key)
        )
        if changed:
            raise RunError(
                f"{self.directory}: stage {self.name!r} was made from other inputs "
                f"({', '.join(changed)} changed); use a new directory with -o, or delete this one"
            )
        outputs = {
            self.directory / relative: entry["outputs"][relative] for relative in entry["outputs"]
        }
        if not any(path.exists() for path in outputs):
            return False
        for path, digest in outputs.items():
            wrong = (
                "missing" if not path.exists() else "changed" if digest_file(path) != digest else ""
            )
            if wrong:
                parts = sorted({path.relative_to(self.directory).parts[0] for path in outputs})
                raise RunError(
                    f"{path}: {wrong} since stage {self.name!r} wrote it; put it back, or delete "
                    f"{', '.join(parts)} in {self.directory} to make the stage again"
                )
        return True

    def finish(self, outputs: Sequence[Path]) -> None:
        """Record the stage as finished; `outputs` are files below the stage's directory."""
        record = self._read()
        names = list(record)
        if self.name in record:  # made again: what was made from it is not finished any more
            record = {name: record[name] for name in names[: names.index(self.name)]}
        record[self.name] = {
            "inputs": self.inputs,
            "outputs": {str(p.relative_to(self.directory)): digest_file(p) for p in outputs},
        }
        write_json(self._record, record)


@contextmanager
def run_lock(directory: Path) -> Iterator[None]:
    """Hold a run directory for this process; the kernel frees it when the process dies.

    Raises `RunError` when another run holds it or the directory cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise unwritable(directory, error) from error
    try:
        _hold(handle, directory)
        with suppress(OSError):  # the number is for the message above; the lock holds without it
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def check_unlocked(directory: Path) -> None:
    """Raise `RunError` where another run holds the directory now. Makes nothing."""
    try:
        handle = os.open(directory / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return
    except OSError as error:
        raise unwritable(directory, error) from error
    try:
        _hold(handle, directory)
    finally:
        os.close(handle)


def _hold(handle: int, directory: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(handle, 32, 0).decode().strip() or "unknown"
        raise RunError(
            f"{directory}: another run (process {holder}) is using this directory; "
            "wait for it to end or choose another directory with -o"
        ) from error
