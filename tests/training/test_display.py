from __future__ import annotations

import io
import logging
import warnings

from rich.console import Console

from graphium.training.display import quiet_lightning, result_table


def _text(metrics: dict) -> str:
    file = io.StringIO()
    Console(file=file, width=80).print(result_table(metrics))
    return file.getvalue()


def test_results_stand_beside_the_baseline() -> None:
    numbers = {"mae": 0.51234, "auroc": None, "per_task": {}, "baseline": {"mae": 1.5, "auroc": 0.5}}
    text = _text({"val": {"alpha": numbers}, "test": {"alpha": numbers, "beta": {"accuracy": 0.9}}})
    for words in ("val", "test", "alpha", "beta", "mae ↓", "0.512", "1.5", "auroc ↑", "accuracy ↑", "0.900"):
        assert words in text
    (row,) = (line.split() for line in text.splitlines() if "mae" in line)
    assert row == ["alpha", "mae", "↓", "0.512", "0.512", "1.5"]
    assert ["beta", "accuracy", "↑", "-", "0.900", "-"] in [line.split() for line in text.splitlines()]


def test_the_baseline_shown_is_that_of_the_test_part() -> None:
    part = {"alpha": {"mae": 1.0, "baseline": {"mae": 2.0}}}
    other = {"alpha": {"mae": 3.0, "baseline": {"mae": 4.0}}}
    assert "baseline, test" in _text({"val": part, "test": other, "test_seen": part})
    assert "baseline, val" in _text({"val": part})
    for text in (_text({"val": part, "test": other, "test_seen": part}), _text({"test": other})):
        assert text.split()[-1] == "4"


def test_lightning_is_silent_and_others_are_not() -> None:
    logger = logging.getLogger("pytorch_lightning")
    before = logger.level
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with quiet_lightning():
            warnings.warn_explicit("hint", UserWarning, "x.py", 1, module="pytorch_lightning.trainer")
            warnings.warn_explicit("mine", UserWarning, "x.py", 1, module="my_lab.layers")
            assert not logger.isEnabledFor(logging.WARNING)
    assert [str(w.message) for w in seen] == ["mine"]
    assert logger.level == before
