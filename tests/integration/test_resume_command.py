"""``graphium-train`` that is killed, resumed, or spread over two processes, as a user starts it."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Dropout, flipped signs of eigenvectors, averaged weights and a validation inside the epoch, of 6 steps.
WORDS = (
    "data.limit=300", "data.batch_size=100", "model.width=16", "model.depth=2", "model.dropout=0.1",
    "trainer.max_epochs=2", "trainer.averaging=0.9", "trainer.val_every=0.5",
)  # fmt: skip
SCRIPT = """
import os, signal
from graphium.training.module import Module

hook, number, batch = os.environ.get("SIGNAL_AT", "none 0 0").split()

def send(self, *arguments):
    if self.trainer.fit_loop.total_batch_idx == int(batch):
        os.kill(os.getpid(), int(number))
    return original(self, *arguments)

if hook != "none":
    original = getattr(Module, hook)
    setattr(Module, hook, send)
if __name__ == "__main__":
    from graphium.cli.train import main
    main()
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "train.py").write_text(SCRIPT)
    return folder


def train(folder: Path, *words: str, signal_at: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("OMP_NUM_THREADS", None)
    if signal_at:
        environment["SIGNAL_AT"] = signal_at
    return subprocess.run(
        [sys.executable, "train.py", "store_dir=stores", *WORDS, *words],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def outcome(run_dir: Path) -> dict[str, object]:
    """What must be equal bit for bit: everything but the seconds."""
    rows = csv.DictReader((run_dir / "metrics.csv").open())
    return {
        "rows": [{name: value for name, value in row.items() if "second" not in name} for row in rows],
        "metrics": json.loads((run_dir / "metrics.json").read_text()),
        "weights": (run_dir / "model" / "model.safetensors").read_bytes(),
        "predictions": (run_dir / "predictions" / "test.parquet").read_bytes(),
    }


@pytest.mark.parametrize("threads", [1, 2])
def test_a_killed_run_resumes_bit_for_bit(folder: Path, threads: int) -> None:
    here = f"trainer.threads={threads}"
    whole = train(folder, here, f"run_dir=whole{threads}")
    assert whole.returncode == 0, whole.stderr
    expected = outcome(folder / f"whole{threads}")
    steps = int(expected["rows"][-1]["step"]) // 2  # type: ignore[index]

    # Inside the optimiser of the last step of the first epoch, without a chance to save anything.
    run = folder / f"killed{threads}"
    killed = train(folder, here, f"run_dir={run}", signal_at=f"on_before_optimizer_step {signal.SIGKILL} {steps - 1}")
    assert killed.returncode == -signal.SIGKILL
    resumed = train(folder, here, f"ckpt_path={run}/checkpoints/last.ckpt")
    assert resumed.returncode == 0, resumed.stderr
    assert outcome(run) == expected

    if threads == 2:
        return
    # As a batch system does it; the run says how to go on.
    run = folder / "stopped"
    stopped = train(folder, here, f"run_dir={run}", signal_at=f"training_step {signal.SIGTERM} {steps - 1}")
    assert stopped.returncode == 1
    (word,) = re.findall(r"go on with the same command and (ckpt_path=\S+)", stopped.stderr)
    resumed = train(folder, here, word)
    assert resumed.returncode == 0, resumed.stderr
    assert outcome(run) == expected


def test_two_processes_train_as_one_with_twice_the_batch(folder: Path) -> None:
    words = ("features=no_encodings", "model.dropout=0", "trainer.threads=1", "trainer.val_every=1")
    one = train(folder, *words, "run_dir=one", "data.batch_size=100")
    assert one.returncode == 0, one.stderr
    two = train(folder, *words, "run_dir=two", "data.batch_size=50", "trainer.devices=2")
    assert two.returncode == 0, two.stderr
    rows = [list(csv.DictReader((folder / name / "metrics.csv").open())) for name in ("one", "two")]
    for single, double in zip(*rows, strict=True):
        assert single["step"] == double["step"]
        for name in ("train/loss", "val/loss"):
            assert float(double[name]) == pytest.approx(float(single[name]), rel=1e-4)
    files = [sorted(str(p.relative_to(folder / n)) for p in (folder / n).rglob("*")) for n in ("one", "two")]
    assert files[0] == files[1]
    assert two.stderr.count("results") == 1 and two.stderr.count("plan") == 1
