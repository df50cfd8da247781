"""Fair ratios on noisy machines: both sides in one process, interleaved, medians compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def interleave(
    sides: dict[str, Callable[[], object]],
    repeats: int = 5,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Run every side ``repeats`` times in turn (A B A B ...); return median seconds per side."""
    for _ in range(warmup):
        for run in sides.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(title: str, measured: float, required: float, *, at_least: bool = True, unit: str = "x") -> None:
    """Print one line: the ratio measured, the ratio asked for, and whether it holds."""
    holds = measured >= required if at_least else measured <= required
    sign = ">=" if at_least else "<="
    print(f"{title:<58} {measured:8.3f} {unit}   asked {sign} {required:g}   {'ok' if holds else 'SHORT'}")
