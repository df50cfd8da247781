from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphium.data.tables.memo import Memo

PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PLAIN, PLAIN, PLAIN)
def test_answers_come_back(tmp_path: Path, key: object, answer: object, other: object) -> None:
    memo = Memo(tmp_path)
    memo.put(["one", key], answer)
    assert memo.get(["one", key]) == answer
    memo.put(["one", key], other)
    assert Memo(tmp_path).get(["one", key]) == other
    assert memo.get(["two", key]) is None
    assert not list(tmp_path.glob("*.tmp"))


def test_any_damage_is_noticed(tmp_path: Path) -> None:
    memo = Memo(tmp_path)
    memo.put("key", [128, "name"])
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    for place in range(len(content)):
        for bit in (1, 16):
            file.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
            assert memo.get("key") in (None, [128, "name"])
        file.write_bytes(content[:place])
        assert memo.get("key") is None
    file.write_text("[]")
    assert memo.get("key") is None
    memo.put("key", 3)
    assert memo.get("key") == 3


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    memo = Memo(tmp_path / "file" / "memo")
    memo.put("key", 1)
    assert memo.get("key") is None

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    memo = Memo(tmp_path)
    monkeypatch.setattr(Path, "replace", full)
    memo.put("key", 1)
    assert memo.get("key") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
