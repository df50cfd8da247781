"""Atom contributions as a picture: an SVG with a halo around every atom and a legend below."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from xml.sax.saxutils import escape

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

from graphium.chem.parse import UnusableMolecule, read_molecule, readable
from graphium.errors import GraphiumError
from graphium.models.measured import number

Method = Literal["gradient", "masking"]
METHODS: tuple[Method, ...] = ("gradient", "masking")
# Vermilion and blue of Okabe and Ito (2008), which people with any colour vision tell apart.
RAISES, LOWERS = "#d55e00", "#0072b2"
_INK, _FAINT = "#1f2328", "#6e7781"
_FONT = "font-family='Helvetica, Arial, sans-serif'"
# Pixels: the length of a bond where the molecule is small enough, the legend, its margin and its scale.
_BOND, _LEGEND, _MARGIN, _BAR = 36.0, 58, 18, 132
# Of the length of a bond: the radius of a halo.
_RADIUS = 0.78
# A contribution below this share of the scale is not drawn.
_LEAST = 0.02


@dataclass(frozen=True)
class AtomContributions:
    """What every atom of one molecule contributes to one prediction.

    ``text``: the molecule as it was given. ``values``: float64 ``[atoms]``, in the order of its atoms there (for a
    SMILES with explicit hydrogens: those of RDKit's default parse, or all where the model's graphs hold hydrogens),
    in the unit of the prediction; above 0 raises it. ``prediction``: the number, or the probability of ``of_class``.
    ``baseline``: the prediction with no atom, see :class:`Explainer`. ``units``: of all of these. ``status``: ``ok``,
    or why the text could not be used; it then has no values.
    """

    text: str
    task: str
    method: Method
    values: np.ndarray = field(default_factory=lambda: np.empty(0))
    prediction: float = float("nan")
    baseline: float = float("nan")
    units: str = ""
    of_class: str | None = None
    form: Literal["heavy", "explicit_h"] = "heavy"
    status: str = "ok"

    def svg(self, *, width: int = 440, height: int = 360, scale: float | None = None, legend: bool = True) -> str:
        """The molecule with a halo around every atom, orange where it raises the prediction, blue where it lowers it.

        Args:
            width: Of the picture, in pixels.
            height: Of the picture, in pixels.
            scale: The contribution that has the full colour; None is the largest of this molecule. Pictures with the
                same one can be compared.
            legend: Whether the scale, the task and the prediction stand below.

        Raises:
            GraphiumError: the text gives no molecule.
        """
        return draw(self, width=width, height=height, scale=scale, legend=legend)

    def _repr_svg_(self) -> str:
        return self.svg()


def draw(found: AtomContributions, *, width: int, height: int, scale: float | None, legend: bool) -> str:
    """The SVG of one molecule, see :meth:`AtomContributions.svg`."""
    if found.status != "ok":
        raise GraphiumError(f"{readable(found.text)!r} {found.status}; there is nothing to draw")
    if min(width, height) < 100 or (scale is not None and not scale > 0):
        raise GraphiumError(
            f"a picture of {width} x {height} pixels and the scale {scale} cannot be drawn; give at least 100 x 100 "
            "pixels and a scale above 0"
        )
    most = float(np.abs(found.values).max(initial=0.0)) if scale is None else scale
    above = height - _LEGEND if legend else height
    mol = _depicted(found)
    structure, place, bond = _structure(mol, width, above)
    said = [f"{found.task}: {_amount(found.prediction, found.units)}, {readable(found.text)}"]
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' viewBox='0 0 {width} {height}'>",
        f"<title>{escape(said[0])}</title>",
        _gradients(),
        f"<rect width='{width}' height='{height}' fill='#ffffff'/>",
        *_halos(mol, found.values, place, _RADIUS * bond, most),
        structure,
    ]
    if legend:
        parts.append(_legend(found, most, width, above))
    return "\n".join([*parts, "</svg>\n"])


def _depicted(found: AtomContributions) -> Chem.Mol:
    """The molecule in the order of its text, in two dimensions."""
    with rdBase.BlockLogs():
        try:
            mol = read_molecule(found.text, found.form)
        except UnusableMolecule as error:
            raise GraphiumError(f"{readable(found.text)!r} {error}; there is nothing to draw") from None
        if not (mol.GetNumConformers() and not mol.GetConformer().Is3D()):
            rdDepictor.Compute2DCoords(mol)
            rdDepictor.StraightenDepiction(mol)
        return rdMolDraw2D.PrepareMolForDrawing(mol, addChiralHs=False)


def _structure(mol: Chem.Mol, width: int, height: int) -> tuple[str, np.ndarray, float]:
    """RDKit's drawing, the place of every atom in it, float64 ``[atoms, 2]``, and the length of a bond."""
    drawer = rdMolDraw2D.MolDraw2DSVG(width, height)
    options = drawer.drawOptions()
    options.clearBackground = False  # type: ignore[assignment]
    options.fixedBondLength = _BOND  # type: ignore[assignment]
    options.bondLineWidth = 1.7  # type: ignore[assignment]
    options.padding = 0.12  # type: ignore[assignment]
    options.useBWAtomPalette()
    # A colour says how much an atom contributes, and nothing else.
    options.updateAtomPalette({-1: tuple(int(_INK[k : k + 2], 16) / 255 for k in (1, 3, 5))})
    drawer.DrawMolecule(mol)
    drawer.FinishDrawing()
    points = [drawer.GetDrawCoords(atom) for atom in range(mol.GetNumAtoms())]
    place = np.array([[point.x, point.y] for point in points])
    ends = np.array([[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()] for bond in mol.GetBonds()], int).reshape(-1, 2)
    lengths = np.linalg.norm(place[ends[:, 0]] - place[ends[:, 1]], axis=1)
    _, _, body = drawer.GetDrawingText().partition("<!-- END OF HEADER -->")
    return body.rpartition("</svg>")[0].strip(), place, float(np.median(lengths)) if len(lengths) else _BOND


def _gradients() -> str:
    """Full in the middle, nothing at the rim."""
    stops = ((0, 1.0), (35, 0.86), (70, 0.34), (100, 0.0))
    made = []
    for name, colour in (("raises", RAISES), ("lowers", LOWERS)):
        inner = "".join(f"<stop offset='{at}%' stop-color='{colour}' stop-opacity='{o}'/>" for at, o in stops)
        made.append(f"<radialGradient id='graphium-{name}'>{inner}</radialGradient>")
    bar = (
        f"<linearGradient id='graphium-scale'><stop offset='0' stop-color='{LOWERS}' stop-opacity='0.85'/>"
        f"<stop offset='0.5' stop-color='#ffffff'/><stop offset='1' stop-color='{RAISES}' stop-opacity='0.85'/>"
        "</linearGradient>"
    )
    return f"<defs>{''.join(made)}{bar}</defs>"


def _halos(mol: Chem.Mol, values: np.ndarray, place: np.ndarray, radius: float, most: float) -> list[str]:
    """A disc around every atom, as strong as its contribution; the number shows under the pointer."""
    found = []
    # Strong ones last, above their neighbours.
    for atom in np.argsort(np.abs(values), kind="stable").tolist():
        share = min(abs(float(values[atom])) / most, 1.0) if most else 0.0
        if share < _LEAST:
            continue
        name = "raises" if values[atom] > 0 else "lowers"
        (x, y), symbol = place[atom], mol.GetAtomWithIdx(atom).GetSymbol()
        found.append(
            f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{radius * (0.72 + 0.28 * share):.1f}' "
            f"fill='url(#graphium-{name})' opacity='{0.12 + 0.73 * share:.3f}'>"
            f"<title>{symbol}{atom}: {values[atom]:+.3g}</title></circle>"
        )
    return found


def _legend(found: AtomContributions, most: float, width: int, top: int) -> str:
    """The task and its prediction on the left, the scale of the colours on the right."""
    of_class = f", class {found.of_class}" if found.of_class not in (None, "1") else ""
    left, right = _MARGIN, width - _MARGIN
    bar, room = right - _BAR, width - _BAR - 3 * _MARGIN
    line, text = top + 10, top + 27
    parts = [
        f"<line x1='{left}' y1='{top + 0.5}' x2='{right}' y2='{top + 0.5}' stroke='#d0d7de'/>",
        _text(left, text, _fitted(f"{found.task}{of_class}", room, 12.5), 12.5, _INK, weight="600"),
        _text(left, text + 18, _fitted(_amount(found.prediction, found.units), room, 12.5), 12.5, _INK),
        f"<rect x='{bar}' y='{line + 4}' width='{_BAR}' height='10' rx='5' fill='url(#graphium-scale)' "
        "stroke='#d0d7de' stroke-width='0.8'/>",
        _text(bar, text + 18, f"\u2212{number(most)}", 11, _FAINT),
        _text(bar + _BAR / 2, text + 18, "0", 11, _FAINT, anchor="middle"),
        _text(right, text + 18, f"+{number(most)}", 11, _FAINT, anchor="end"),
    ]
    return "\n".join(parts)


def _amount(value: float, units: str) -> str:
    return f"{number(value)} {units}".strip() if units != "probability" else f"probability {number(value)}"


def _fitted(text: str, room: float, size: float) -> str:
    """A text that fits, ended by dots where it would not."""
    # Letters of this font are half as wide as high on average.
    most = max(4, int(room / (0.56 * size)))
    return text if len(text) <= most else f"{text[: most - 1]}\u2026"


def _text(
    x: float, y: float, text: str, size: float, colour: str, *, anchor: str = "start", weight: str = "400"
) -> str:
    return (
        f"<text x='{x:g}' y='{y:g}' {_FONT} font-size='{size:g}' font-weight='{weight}' fill='{colour}' "
        f"text-anchor='{anchor}'>{escape(text)}</text>"
    )
