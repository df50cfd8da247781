"""Files beside the weights of a model that hold for these weights alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from graphium.errors import GraphiumError
from graphium.models.folder.names import WEIGHTS
from graphium.models.folder.tensors import file_sha256, first_line, read_tensors, write_tensors
from graphium.models.ready import Source
from graphium.models.saved import SavedModel, load_model

CALIBRATION = "calibration.safetensors"
DOMAIN = "domain.safetensors"
FORMAT = 1
# What content that is not ours can raise.
_MISFITS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def write_stored(folder: Path, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Write what was measured of the model in ``folder``, with the hash of its weights."""
    about = {"format": str(FORMAT), "weights": file_sha256(folder / WEIGHTS), **facts}
    write_tensors(folder / name, tensors, about)


def read_stored(saved: SavedModel, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read such a file of a loaded model: its tensors, and what is said of them with the hash of the file.

    Raises:
        GraphiumError: there is none, it is damaged or newer than this program, or it was made of other weights.
    """
    what = {CALIBRATION: "intervals", DOMAIN: "applicability domain"}[name]
    folder = saved.folder
    if folder is None or not (folder / name).is_file():
        where = "the model" if folder is None else f"the model in {str(folder)!r}"
        raise GraphiumError(
            f"{where} has no {name}, which its {what} need{'s' * (name == DOMAIN)}; "
            f"make it with graphium models calibrate {'MODEL' if folder is None else folder} data=..."
        )
    tensors, about = read_tensors(folder / name)
    with judging(saved, name):
        number = int(about.get("format", 0))
    if number > FORMAT:
        raise GraphiumError(
            f"{str(folder / name)!r} has format {number} and this graphium reads up to {FORMAT}; "
            "install a newer graphium"
        )
    if about.get("weights") != file_sha256(folder / WEIGHTS):
        raise GraphiumError(
            f"{str(folder / name)!r} was made of other weights than those beside it; "
            f"make it again with graphium models calibrate {folder} data=..."
        )
    return tensors, {**about, "sha256": file_sha256(folder / name)}


def stored_model(model: Source, what: str) -> SavedModel:
    """A model of which something is stored, loaded where it is named; ``what`` wants it.

    Raises:
        GraphiumError: it is none, or cannot be loaded.
    """
    if isinstance(model, str | Path):
        return load_model(model)
    if not hasattr(model, "folder"):
        raise GraphiumError(f"{what} of a {type(model).__name__} is wanted; give a saved model, or where it lies")
    return model


@contextmanager
def judging(saved: SavedModel, name: str) -> Iterator[None]:
    """Whatever goes wrong while the content of a file is made use of is a damaged file."""
    assert saved.folder is not None
    try:
        yield
    except (*_MISFITS, GraphiumError) as error:
        raise GraphiumError(
            f"{str(saved.folder / name)!r} is damaged ({first_line(error)}); "
            f"make it again with graphium models calibrate {saved.folder} data=..."
        ) from None
