from __future__ import annotations

import logging
import warnings

from graphium.training.display import quiet_lightning


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
