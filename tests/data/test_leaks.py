from __future__ import annotations

import numpy as np

from graphium.data.leaks import RowIds, count_leaks


def _ids(*numbers: int) -> np.ndarray:
    return np.array([[n // 7, n] for n in numbers], dtype=np.uint64)


def test_counts_equal_a_set_join_on_random_ids():
    rng = np.random.default_rng(0)
    datasets, sets = {}, {}
    for name in ("a", "b"):
        numbers = rng.integers(0, 300, 500)
        flat = numbers // 3
        parts = rng.choice(np.array([-1, 0, 1, 2], dtype=np.int8), 500)
        datasets[name] = RowIds(parts, _ids(*numbers), _ids(*flat))
        sets[name] = (numbers, flat, parts)
    found = count_leaks(datasets)
    for name in datasets:
        for column, suffix in ((0, ""), (1, "_flat")):
            own = set(sets[name][column][sets[name][2] == 0])
            every = set().union(*(set(s[column][s[2] == 0]) for s in sets.values()))
            for code, part in ((1, "val"), (2, "test")):
                here = sets[name][column][sets[name][2] == code]
                assert found[name][part][f"own{suffix}"] == sum(n in own for n in here)
                assert found[name][part][f"mix{suffix}"] == sum(n in every for n in here)


def test_a_part_that_does_not_exist_is_not_reported():
    rows = RowIds(np.zeros(2, dtype=np.int8), _ids(1, 2), _ids(1, 2))
    assert count_leaks({"a": rows}) == {"a": {}}
