"""Trust columns of models trained on real tables: coverage, distance and error, the sign of what atoms contribute."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from graphium.config import compose
from graphium.models.attribution.contributions import explain
from graphium.models.predictor import Predictor
from graphium.models.saved import SavedModel, load_model
from graphium.models.trust.conformal import Intervals
from graphium.models.trust.domain import Domain
from graphium.training.calibration import calibrate_saved
from graphium.training.run import run

SPLIT = ["data.split.name=random", "data.split.train=0.4", "data.split.val=0.3", "data.split.test=0.3"]
SMALL = ["model.width=32", "model.depth=3", "trainer.progress=false", "data.batch_size=64"]


class Trained:
    """A small model, and its test rows with their labels."""

    def __init__(self, path: Path, task: str, epochs: int, folder: Path) -> None:
        words = ["data=table", f"data.path={path}", f"data.targets=[{task}]", *SPLIT, *SMALL]
        config: dict[str, Any] = compose([*words, f"trainer.max_epochs={epochs}"])
        config |= {"run_dir": str(folder / "run"), "store_dir": str(folder / "stores")}
        run(config)
        calibrate_saved(folder / "run", config, progress=False)
        self.saved: SavedModel = load_model(folder / "run")
        self.task = task
        found = pd.read_parquet(folder / "run" / "predictions" / "test.parquet").query("status == 'ok'")
        self.texts = found["smiles"].tolist()
        self.labels = pd.read_csv(path)[task].to_numpy()[found["row"]]

    def predict(self, *extras: Any) -> pd.DataFrame:
        return Predictor(self.saved, extras=extras).predict(self.texts)


def check_coverage(held: np.ndarray, level: float, calibrated: int) -> None:
    """Within 4 deviations: of a share of so many test rows, and of the level that so many scores give (a beta)."""
    deviation = math.sqrt(level * (1 - level) * (1 / len(held) + 1 / calibrated))
    assert abs(held.mean() - level) < 4 * deviation + 1 / calibrated


@pytest.fixture(scope="module")
def lipo(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(shared_data / "moleculenet" / "lipo.csv.gz", "lipo", 3, tmp_path_factory.mktemp("lipo"))


@pytest.fixture(scope="module")
def bbbp(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(shared_data / "moleculenet" / "bbbp.csv.gz", "p_np", 8, tmp_path_factory.mktemp("bbbp"))


@pytest.fixture(scope="module")
def esol(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(shared_data / "moleculenet" / "delaney.csv.gz", "logp", 20, tmp_path_factory.mktemp("esol"))


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_intervals_hold_the_label_as_often_as_they_say(lipo: Trained, level: float) -> None:
    found = lipo.predict(Intervals(lipo.saved, level))
    held = (found["lipo[low]"] <= lipo.labels) & (lipo.labels <= found["lipo[high]"])
    check_coverage(held.to_numpy(), level, 1260)


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_sets_hold_the_class_as_often_as_they_say(bbbp: Trained, level: float) -> None:
    found = bbbp.predict(Intervals(bbbp.saved, level))
    assert found["p_np[set]"].map(len).min() == 1
    held = np.array(
        [str(int(label)) in classes for label, classes in zip(bbbp.labels, found["p_np[set]"], strict=True)]
    )
    alone = ((found["p_np"] > 0.5) == bbbp.labels).mean()
    # The most probable class may hold more often than was asked for.
    check_coverage(held, max(level, alone), 611)


def test_errors_grow_with_the_distance(bbbp: Trained) -> None:
    found = bbbp.predict(Domain(bbbp.saved))
    error = pd.Series(np.abs(bbbp.labels - found["p_np"].to_numpy()))
    assert error.corr(found["domain_distance"], method="spearman") > 0.15
    assert error[found["domain"] < 0.2].mean() > error[found["domain"] > 0.8].mean()


def test_strange_chemistry_is_far_out(lipo: Trained) -> None:
    metals = ["[Fe+2].c1ccc[cH-]1.c1ccc[cH-]1", "N[Pt](N)(Cl)Cl", "c1ccc(cc1)[Sn](c1ccccc1)(c1ccccc1)c1ccccc1"]
    strange = [*metals, "C" * 50, "FC(F)(F)" + "C(F)(F)" * 7 + "S(=O)(=O)O", "[Na+].[Cl-]"]
    found = Predictor(lipo.saved, extras=[Domain(lipo.saved)]).predict([*strange, *lipo.texts])
    assert found["domain"][: len(strange)].max() < 0.1
    assert 0.3 < found["domain"][len(strange) :].mean() < 0.6


@pytest.mark.parametrize("method", ["gradient", "masking"])
def test_what_makes_molecules_soluble(esol: Trained, method: str) -> None:
    """A hydroxyl raises solubility against the carbons of its chain, chlorine lowers it against hydroxyl."""
    alcohol, chloride = explain(esol.saved, ["CCCCCCO", "CCCCCCCl"], method=method)
    assert alcohol.values[-1] > alcohol.values[:-1].max()
    assert chloride.values[-1] < alcohol.values[-1] and chloride.prediction < alcohol.prediction
