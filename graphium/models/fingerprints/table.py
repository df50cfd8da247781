"""Fingerprints of a table of molecules, from file to file: Parquet with the input's columns, or one array of NumPy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from graphium.data.molecules import Molecules
from graphium.data.store.columns import create_file
from graphium.errors import GraphiumError
from graphium.messages import tell
from graphium.models.fingerprints.fingerprinter import Fingerprinter
from graphium.models.ready import add_model
from graphium.models.tables.input_tables import InputTable, opened
from graphium.models.tables.output_formats import Format, ParquetFormat
from graphium.models.tables.prediction_columns import OK, STATUS
from graphium.models.tables.table_files import check_place, write_table

COLUMN = "fingerprint"
Dtype = Literal["float32", "float16"]


class FingerprintColumns:
    """The new columns of a table: ``fingerprint``, without a value where a text could not be used, and ``status``.

    Args:
        fingerprinter: What computes them.
        per_atom: A list of vectors in every cell, one for each atom, bond or pair of the text in its own order,
            instead of one vector of the molecule.
        dtype: Of the numbers.

    Raises:
        GraphiumError: ``per_atom`` where there are no vectors of atoms.
    """

    def __init__(self, fingerprinter: Fingerprinter, *, per_atom: bool = False, dtype: Dtype = "float32") -> None:
        if dtype not in ("float32", "float16"):
            raise GraphiumError(f"dtype is {dtype!r}; choose float32 or float16")
        if per_atom:
            fingerprinter.check_per_atom()
        self.fingerprinter, self.per_atom = fingerprinter, per_atom
        self.dtype = np.dtype(dtype)
        self.num_channels = fingerprinter.num_entity_channels if per_atom else fingerprinter.num_channels
        self._vector = pa.list_(pa.from_numpy_dtype(self.dtype), self.num_channels)

    @property
    def schema(self) -> pa.Schema:
        kind = pa.list_(self._vector) if self.per_atom else self._vector
        return pa.schema([pa.field(COLUMN, kind), pa.field(STATUS, pa.string())])

    @property
    def key(self) -> str:
        one = self.fingerprinter
        total = hashlib.sha256()
        add_model(total, one.saved)
        places = [str(stage) for stage in one.stages]
        plain = [places, one.pooling, self.per_atom, self.dtype.name, one.batch_size, str(one.device)]
        total.update(json.dumps(plain).encode())
        return total.hexdigest()

    def make(self, texts: Sequence[Any], number: int = 0) -> pa.Table:
        """The columns of some texts; ``number`` is not used."""
        molecules = Molecules(texts, self.fingerprinter.saved.featurizer)
        status = np.full(len(texts), OK, object)
        for position, reason in molecules.failures:
            status[position] = reason
        failed = pa.array(status != OK)
        if self.per_atom:
            values, counts = self.fingerprinter.entities(molecules)
            offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
            column = pa.ListArray.from_arrays(pa.array(offsets), self._vectors(values), mask=failed)
        else:
            column = self._vectors(self.fingerprinter.pooled(molecules), failed)
        return pa.Table.from_arrays([column, pa.array(status, pa.string())], schema=self.schema)

    def _vectors(self, values: np.ndarray, failed: pa.Array | None = None) -> pa.Array:
        with np.errstate(over="ignore"):
            short = values.astype(self.dtype, copy=False)
        if short is not values and np.isinf(short).any():
            raise GraphiumError(
                f"a fingerprint holds the number {np.nanmax(np.abs(values)):g}, too large for {self.dtype.name}; "
                "write float32"
            )
        return pa.FixedSizeListArray.from_arrays(pa.array(short.reshape(-1)), type=self._vector, mask=failed)


class NumpyFormat:
    """One array ``[rows, channels]`` in a .npy file, to be read by ``numpy.load``, mapped or whole.

    Of a table it writes the fingerprints alone; rows without one are NaN.
    """

    suffix = ".npy"
    is_typed = False

    def __init__(self, num_rows: int, num_channels: int, dtype: np.dtype[Any]) -> None:
        self._about = {"descr": dtype.str, "fortran_order": False, "shape": (num_rows, num_channels)}
        self._dtype = dtype

    def encode(self, table: pa.Table) -> Any:
        column = table[COLUMN].combine_chunks()
        values = column.values.to_numpy(zero_copy_only=False).reshape(len(column), -1)
        missing = column.is_null().to_numpy(zero_copy_only=False)
        if missing.any():
            values = np.where(missing[:, None], self._dtype.type(np.nan), values)
        return np.ascontiguousarray(values, self._dtype).view(np.uint8).reshape(-1).data

    def join(self, path: Path, schema: pa.Schema, pieces: Iterable[Any]) -> None:
        with create_file(path) as file:
            np.lib.format.write_array_header_1_0(file, self._about)
            for piece in pieces:
                file.write(piece)


def check_output(output: str | Path, *, per_atom: bool = False, overwrite: bool = False) -> None:
    """Judge an output before any work is done for it.

    Raises:
        GraphiumError: another suffix than .parquet and .npy, or .npy for vectors of atoms; a folder that does not
            exist, a file that does.
    """
    suffix = Path(output).suffix.lower()
    if suffix not in (".parquet", ".pq", ".npy"):
        raise GraphiumError(
            f"the output {str(output)!r} holds no fingerprints; give a name that ends in .parquet or .npy"
        )
    if per_atom and suffix == ".npy":
        raise GraphiumError(
            f"the output {str(output)!r} is one array, and molecules differ in their number of atoms; write vectors of "
            "atoms to a .parquet file"
        )
    check_place(output, overwrite)


def write_fingerprints(
    columns: FingerprintColumns,
    source: str | Path,
    output: str | Path,
    *,
    smiles: str | None = None,
    n_jobs: int = 1,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, int]:
    """Write the fingerprints of a table of molecules of any size, in the order of its rows.

    Parquet holds the columns of the input, ``fingerprint`` and ``status``; .npy the fingerprints alone. An
    interrupted call goes on where it was; see :func:`~graphium.models.tables.table_files.write_table`.

    Args:
        columns: What is written.
        source: The table; ``-`` is stdin.
        output: ``.parquet``, or ``.npy`` where every molecule has one vector.
        smiles: The column of the molecules; None finds it.
        n_jobs: Processes; -1 takes all cores.
        overwrite: Replace an output that exists.
        progress: Show a progress bar on stderr.

    Returns:
        ``{"rows": ..., "failures": ...}``.

    Raises:
        GraphiumError: an output as :func:`check_output` refuses it, a full disk, a table that cannot be read.
    """
    check_output(output, per_atom=columns.per_atom, overwrite=overwrite)
    is_array = Path(output).suffix.lower() == ".npy"
    with opened(str(source)) as path:
        table = InputTable(path, smiles, () if is_array else columns.schema.names)
        tell(table.messages)
        form: Format = ParquetFormat()
        if is_array:
            table.kept = {}
            form = NumpyFormat(table.num_rows, columns.num_channels, columns.dtype)
        return write_table(
            table,
            output,
            columns,
            form=form,
            n_jobs=n_jobs,
            overwrite=overwrite,
            progress=progress,
            verbs=("fingerprinting", "fingerprinted"),
        )
