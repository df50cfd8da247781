"""Execute the notebooks of this folder and keep what they print: `python docs/notebooks/run.py [NAME ...]`.

Each runs in a folder of its own, so that nothing but its output stays. GRAPHIUM_DATA names the folder of the TDC
tables.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent


def execute(path: Path) -> nbformat.NotebookNode:
    """The notebook with what its cells print; a cell that fails raises."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": folder}}
        ).execute()
    for cell in notebook.cells:
        # Times of execution differ from run to run.
        cell.metadata.pop("execution", None)
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def main() -> None:
    names = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    os.environ["GRAPHIUM_DATA"] = str(Path(os.environ.get("GRAPHIUM_DATA", "../shared/data/tdc_admet")).resolve())
    for name in names:
        path = FOLDER / f"{name}.ipynb"
        nbformat.write(execute(path), path)


if __name__ == "__main__":
    main()
