"""Pictures of contributions: well-formed, every atom in its place and colour."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from rdkit import Chem

from graphium.errors import GraphiumError
from graphium.models.attribution.contributions import AtomContributions
from graphium.models.attribution.drawing import LOWERS, RAISES

SVG = "{http://www.w3.org/2000/svg}"


def found(text: str, values: list[float], **said: object) -> AtomContributions:
    return AtomContributions(text, "log <S>", "gradient", np.array(values), -1.25, 0.5, **said)  # type: ignore[arg-type]


def circles(svg: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(f"{SVG}circle"))


def test_halos() -> None:
    svg = found("OCC", [-0.8, 0.004, 0.4], units="mol/l").svg()
    drawn = {circle[0].text: circle for circle in circles(svg)}
    assert list(drawn) == ["C2: +0.4", "O0: -0.8"], "what is next to nothing has no halo, the strongest comes last"
    assert "lowers" in drawn["O0: -0.8"].get("fill", "") and "raises" in drawn["C2: +0.4"].get("fill", "")
    assert float(drawn["O0: -0.8"].get("opacity", 0)) > float(drawn["C2: +0.4"].get("opacity", 0))
    assert RAISES in svg and LOWERS in svg
    texts = [node.text for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert texts == ["log <S>", "-1.25 mol/l", "\u22120.800", "0", "+0.800"]


def test_a_common_scale_makes_pictures_comparable() -> None:
    (own,), (common,) = (circles(found("C", [0.1]).svg(scale=scale)) for scale in (None, 1.0))
    assert float(own.get("opacity", 0)) > float(common.get("opacity", 0))
    assert circles(found("C", [5.0]).svg(scale=1.0))[0].get("opacity") == own.get("opacity")


@pytest.mark.parametrize("text", ["O", "[Na+].[Cl-]", "C" * 120, "c1ccc2c(c1)[nH]c1ccccc12", "C[C@H](N)C(=O)O |w:1.0|"])
def test_halos_lie_on_their_atoms_inside_the_picture(text: str) -> None:
    atoms = Chem.MolFromSmiles(text).GetNumAtoms()
    svg = found(text, [1.0] * atoms).svg(width=300, height=250)
    places = np.array([[float(circle.get("cx", -1)), float(circle.get("cy", -1))] for circle in circles(svg)])
    assert len(places) == atoms
    assert (places > 0).all() and (places[:, 0] < 300).all() and (places[:, 1] < 250 - 40).all()
    assert len(np.unique(places.round(1), axis=0)) == atoms


def test_no_contribution_at_all_and_no_legend() -> None:
    svg = found("CC", [0.0, 0.0]).svg(legend=False)
    assert not circles(svg) and "<text" not in re.sub(r"<title>.*?</title>", "", svg)


def test_words_are_escaped_cut_and_told() -> None:
    one = found("CC", [1.0, 0.0], units="probability", of_class="<b> & a very long name of a class that has no room")
    svg = one.svg()
    ElementTree.fromstring(svg)
    assert "\u2026" in svg and "probability -1.25" in svg


def test_molblocks_keep_their_drawing() -> None:
    mol = Chem.MolFromSmiles("CCO")
    conformer = Chem.Conformer(3)
    for atom, (x, y) in enumerate([(0.0, 0.0), (3.0, 0.0), (3.0, 3.0)]):
        conformer.SetAtomPosition(atom, (x, y, 0.0))
    conformer.Set3D(False)
    mol.AddConformer(conformer)
    places = {
        circle[0].text[:2]: (float(circle.get("cx", 0)), float(circle.get("cy", 0)))  # type: ignore[index]
        for circle in circles(found(Chem.MolToMolBlock(mol), [1.0, 1.0, 1.0]).svg())
    }
    (ax, ay), (bx, by), (cx, cy) = places["C0"], places["C1"], places["O2"]
    assert abs(ay - by) < 1 < bx - ax and abs(bx - cx) < 1 < by - cy


def test_sizes_are_judged() -> None:
    for options in ({"width": 20}, {"scale": 0.0}, {"scale": float("nan")}):
        with pytest.raises(GraphiumError, match="cannot be drawn"):
            found("C", [1.0]).svg(**options)  # type: ignore[arg-type]
