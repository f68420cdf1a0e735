"""The linker that was trained on questions with gold SQL; `learning.py` trains it. Scoring needs NumPy alone.

Associations of words score every column and table; trees turn these and the features into a probability for each table,
then once more with what its neighbours have, then for each column with what its table has.
"""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from exspin.errors import ModelError
from exspin.hints.associations import BITS, column_pairs, table_pairs
from exspin.hints.context import column_context, table_associations, table_neighbours
from exspin.hints.features import Asked, asked_text, read_question
from exspin.hints.link import LinkScores
from exspin.hints.schema_view import SchemaView
from exspin.hints.trees import Trees
from exspin.ledger import digest_bytes, digest_file, digest_json, write_bytes, write_json
from exspin.sql.schema import Schema

if TYPE_CHECKING:
    from exspin.hints.values import Values

VERSION = (
    1  # of the features and of the files: a linker of another version reads questions otherwise
)
_META, _ARRAYS = "link.json", "link.npz"
_VIEWS = 64  # schemas kept read


@dataclass(frozen=True)
class Model:
    """What is learned."""

    column_weights: NDArray[np.float32]  # 2**BITS
    table_weights: NDArray[np.float32]
    first_tables: Trees
    tables: Trees
    columns: Trees


class LearnedLinker:
    """A trained linker. `trained_on` says on what, for people."""

    def __init__(self, model: Model, trained_on: Mapping[str, Any]) -> None:
        self.model = model
        self.trained_on = dict(trained_on)
        self._views: OrderedDict[str, SchemaView] = OrderedDict()

    @property
    def name(self) -> str:
        return "learned"

    def score(
        self, question: str, schema: Schema, *, evidence: str = "", values: Values | None = None
    ) -> LinkScores:
        """See `Linker.score`."""
        view = self._view(schema)
        hits = values.hits(asked_text(question, evidence)) if values else None
        return score_asked(self.model, view, read_question(view, question, evidence, hits))

    def _view(self, schema: Schema) -> SchemaView:
        view = self._views.pop(schema.digest, None) or SchemaView(schema)
        self._views[schema.digest] = view
        if len(self._views) > _VIEWS:
            self._views.popitem(last=False)
        return view

    @property
    def digest(self) -> str:
        """SHA-256 over all that scores depend on."""
        return digest_json(
            {"version": VERSION, "arrays": {n: _digest(a) for n, a in self._arrays().items()}}
        )

    def _arrays(self) -> dict[str, NDArray[Any]]:
        found = {
            f"{part}.{name}": array
            for part in _TREES
            for name, array in getattr(self.model, part).arrays().items()
        }
        for part in _WEIGHTS:
            weights = getattr(self.model, part)
            (numbers,) = np.nonzero(weights)
            found[f"{part}.numbers"] = numbers.astype(np.int32)
            found[f"{part}.weights"] = weights[numbers]
        return found

    def save(self, directory: Path) -> None:
        """Write the linker into a directory, which is made where it is not there. Raises `RunError` where it cannot be."""
        directory.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **self._arrays())
        write_bytes(directory / _ARRAYS, buffer.getvalue())
        write_json(
            directory / _META,
            {
                "version": VERSION,
                "digest": self.digest,
                "file": digest_file(directory / _ARRAYS),
                "trained_on": self.trained_on,
            },
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote. Raises `ModelError` where files are missing, damaged or of another version."""
        path = directory / _META
        try:
            meta = json.loads(path.read_text("utf-8"))
            version, digest, trained_on = meta["version"], meta["file"], dict(meta["trained_on"])
        except OSError as error:
            raise ModelError(
                f"{path}: no linker ({error.strerror}); `exspin link train` makes one"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path}: damaged; train the linker again") from error
        if version != VERSION:
            raise ModelError(
                f"{path}: a linker of version {version}, and this exspin reads {VERSION}; train it again"
            )
        path = directory / _ARRAYS
        try:
            if digest_file(path) != digest:
                raise ModelError(
                    f"{path}: not the file that {_META} describes; train the linker again"
                )
            with np.load(path, allow_pickle=False) as arrays:
                return cls(_model(arrays), trained_on)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
        except (ValueError, KeyError, TypeError, IndexError, EOFError) as error:
            raise ModelError(f"{path}: damaged ({error}); train the linker again") from error


_TREES = ("first_tables", "tables", "columns")
_WEIGHTS = ("column_weights", "table_weights")


def _model(arrays: Mapping[str, NDArray[Any]]) -> Model:
    def trees(part: str) -> Trees:
        begin = f"{part}."
        own = [name for name in arrays if name.startswith(begin)]
        return Trees.of_arrays({name.removeprefix(begin): arrays[name] for name in own})

    def weights(part: str) -> NDArray[np.float32]:
        found = np.zeros(1 << BITS, np.float32)
        found[arrays[f"{part}.numbers"]] = arrays[f"{part}.weights"]
        return found

    return Model(
        weights("column_weights"),
        weights("table_weights"),
        trees("first_tables"),
        trees("tables"),
        trees("columns"),
    )


def _digest(array: NDArray[Any]) -> str:
    return digest_bytes(f"{array.dtype.str} {array.shape} ".encode() + array.tobytes())


def score_asked(model: Model, view: SchemaView, asked: Asked) -> LinkScores:
    """The probabilities for a question that was looked up in a schema."""
    columns = column_pairs(view, asked).score(model.column_weights)
    tables = table_pairs(view, asked).score(model.table_weights)
    features = np.concatenate([asked.tables, table_associations(view, columns, tables)], 1)
    first = model.first_tables.probabilities(features)
    features = np.concatenate([features, table_neighbours(view, first, asked.explained)], 1)
    of_tables = model.tables.probabilities(features)
    features = np.concatenate(
        [asked.columns, column_context(view, columns, of_tables, asked.alike)], 1
    )
    of_columns = model.columns.probabilities(features)
    return LinkScores(
        dict(zip(view.tables, of_tables.tolist(), strict=True)),
        dict(zip(view.items, of_columns.tolist(), strict=True)),
    )
