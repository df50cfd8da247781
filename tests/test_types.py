from __future__ import annotations

import json

import pytest

from graphium.errors import GraphiumError
from graphium.types import (
    FEATURE_SPEC_VERSION,
    EncodingColumn,
    FeatureSpec,
    HeadSpec,
    Property,
    Task,
    group_tasks,
)

SPEC = FeatureSpec(
    atoms=(Property("atomic-number", 120, "uint8"), Property("degree", 0, "int8"), Property("mass", 0, "float32")),
    bonds=(Property("bond-type", 6, "uint8"), Property("stereo", 7, "uint8"), Property("in-ring", 0, "int8")),
    encodings=(
        EncodingColumn("laplacian_eigvec", "laplacian", 8, "node"),
        EncodingColumn("laplacian_eigval", "laplacian", 8, "component"),
    ),
    form="explicit_h",
)


def test_spec_counts_columns() -> None:
    assert SPEC.atom_sizes == (120,)
    assert SPEC.bond_sizes == (6, 7)
    assert (SPEC.num_atom_numbers, SPEC.num_bond_numbers) == (2, 1)
    assert SPEC.encoding_dims() == {"laplacian_eigvec": 8, "laplacian_eigval": 8}


def test_spec_survives_json() -> None:
    assert FeatureSpec.from_dict(json.loads(json.dumps(SPEC.to_dict()))) == SPEC


def test_spec_of_the_future_is_refused() -> None:
    with pytest.raises(GraphiumError, match="newer graphium"):
        FeatureSpec.from_dict({**SPEC.to_dict(), "version": FEATURE_SPEC_VERSION + 1})


def test_task_survives_json() -> None:
    task = Task(
        "SOL", "solubility", "graph", "multiclass", 3, ("low", "medium", "high"), transform={"name": "none"}, unit="M"
    )
    assert Task.from_dict(json.loads(json.dumps(task.to_dict()))) == task


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"level": "atom"}, "'atom'"),
        ({"kind": "classification"}, "'classification'"),
        ({"kind": "multiclass", "num_classes": 1}, "at least 2"),
        ({"kind": "ordinal"}, "at least 2"),
    ],
)
def test_impossible_tasks_are_refused(fields: dict[str, object], part: str) -> None:
    good: dict[str, object] = {"name": "y", "dataset": "d", "level": "graph", "kind": "regression"}
    with pytest.raises(GraphiumError, match=part):
        Task(**{**good, **fields})  # type: ignore[arg-type]


def test_tasks_are_grouped_into_heads_in_order() -> None:
    tasks = [
        Task("a", "d", "graph", "regression"),
        Task("q", "d", "node", "regression"),
        Task("c", "d", "graph", "multiclass", 3),
        Task("b", "d", "graph", "regression"),
        Task("a", "e", "graph", "regression"),
    ]
    heads = group_tasks(tasks)
    assert [(head.name, [task.name for task in head.tasks]) for head in heads] == [
        ("d_graph_regression", ["a", "b"]),
        ("d_node_regression", ["q"]),
        ("d_graph_multiclass3", ["c"]),
        ("e_graph_regression", ["a"]),
    ]
    assert all(isinstance(head, HeadSpec) and head.num_tasks == len(head.tasks) for head in heads)
