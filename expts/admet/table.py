"""Write the tables of README.md from the files of results/, between its markers.

python expts/admet/table.py [--results expts/admet/results] [--print]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from results import FOLDER, Result, read_all
from tasks import TASKS, Task

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- table.py writes from here -->", "<!-- to here -->"
METHODS = {
    "fingerprint": "MiniMol fingerprint + MLPs",
    "finetune": "MiniMol fine-tuned",
    "scratch": "same network from scratch",
    "forest": "random forest",
}
# Two methods of which one may know the pretraining and the other does not.
PAIRS = (("finetune", "scratch"), ("fingerprint", "forest"), ("finetune", "forest"), ("fingerprint", "finetune"))


def shown(values: Sequence[float]) -> str:
    """``mean ± standard deviation`` of a sample of seeds, or the value of the only one."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def better(task: Task, first: float, second: float) -> bool:
    """Whether the first of two numbers of a task is the better one."""
    return first > second if task.higher_is_better else first < second


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows])


class Scores:
    """Test scores by method and task, ``[seeds]`` each."""

    def __init__(self, results: Sequence[Result]) -> None:
        self.by_place: dict[tuple[str, str], list[float]] = {}
        for result in results:
            self.by_place.setdefault((result.method, result.task), []).append(result.test)
        self.methods = [name for name in METHODS if any(method == name for method, _ in self.by_place)]
        self.tasks = [task for name, task in TASKS.items() if any(found == name for _, found in self.by_place)]

    def mean(self, method: str, task: Task) -> float | None:
        values = self.by_place.get((method, task.name))
        return None if values is None else float(np.mean(values))

    def best(self, task: Task) -> str:
        """The method with the best mean over its seeds."""
        means = {method: mean for method in self.methods if (mean := self.mean(method, task)) is not None}
        return (max if task.higher_is_better else min)(means, key=lambda method: means[method])

    def wins(self, first: str, second: str) -> tuple[int, int]:
        """On how many tasks the mean of the first is the better one of the two, and how many have both."""
        both = [
            (task, one, other)
            for task in self.tasks
            if (one := self.mean(first, task)) is not None and (other := self.mean(second, task)) is not None
        ]
        return sum(better(task, one, other) for task, one, other in both), len(both)


def main_table(scores: Scores, rows: dict[str, int]) -> str:
    """One line a task; the best mean is bold."""
    lines = []
    for task in scores.tasks:
        best = scores.best(task)
        cells = []
        for method in scores.methods:
            values = scores.by_place.get((method, task.name))
            cell = "-" if values is None else shown(values)
            cells.append(f"**{cell}**" if method == best else cell)
        arrow = "higher" if task.higher_is_better else "lower"
        lines.append([task.name, f"{task.metric}, {arrow}", f"{rows[task.name]:,}", *cells, METHODS[best]])
    header = ["task", "metric, better", "training rows", *(METHODS[method] for method in scores.methods), "best mean"]
    return markdown(header, lines)


def method_table(scores: Scores, results: Sequence[Result]) -> str:
    """One line a method: tasks won, runs, what they cost."""
    best = [scores.best(task) for task in scores.tasks]
    lines = []
    for method in scores.methods:
        own = [result for result in results if result.method == method]
        seconds = sum(result.core_seconds for result in own)
        lines.append(
            [
                METHODS[method],
                str(best.count(method)),
                str(len(own)),
                f"{seconds / 60:.0f}",
                f"{seconds / len(own):.0f}",
            ]
        )
    header = ["method", f"best mean of {len(best)} tasks", "runs", "core minutes", "core seconds a run"]
    return markdown(header, lines)


def pair_table(scores: Scores) -> str:
    """On how many tasks one method is better than another."""
    lines = []
    for first, second in PAIRS:
        won, of = scores.wins(first, second)
        if of:
            lines.append([METHODS[first], METHODS[second], f"{won} of {of}"])
    return markdown(["the mean of", "is better than that of", "on tasks"], lines)


def provenance(results: Sequence[Result]) -> str:
    """Dates and versions of all runs, in one line."""
    dates = sorted({result.date for result in results})
    found: dict[str, set[str]] = {}
    for result in results:
        for package, number in result.versions.items():
            found.setdefault(package, set()).add(number)
    versions = ", ".join(f"{package} {' / '.join(sorted(numbers))}" for package, numbers in found.items())
    return (
        f"Made with: {dates[0] if len(dates) == 1 else f'{dates[0]} to {dates[-1]}'}, {versions}, 1 CPU thread a run."
    )


def report(results: Sequence[Result]) -> str:
    """All that stands between the markers."""
    scores = Scores(results)
    rows = {result.task: result.rows["train"] for result in results}
    parts = [main_table(scores, rows), method_table(scores, results), pair_table(scores), provenance(results)]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=FOLDER)
    parser.add_argument("--print", action="store_true", help="print, and leave README.md as it is")
    options = parser.parse_args()
    results = read_all(options.results)
    if not results:
        raise SystemExit(f"no results in {options.results}; run forest.py, fingerprints.py or finetune.py first")
    text = report(results)
    if options.print:
        print(text)
        return
    before, _, rest = README.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{README} has no markers {BEGIN!r} and {END!r}; put them where the tables belong")
    README.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    main()
