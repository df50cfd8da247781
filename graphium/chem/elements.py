"""The periodic table: what the properties of atoms know about an element by its atomic number.

Every table is indexed by atomic number, 0 (a dummy atom ``*``) to 118. A value that is not known is 0
or the empty string. Masses and radii come from RDKit and are not repeated here.
"""

from __future__ import annotations

NUM_ELEMENTS = 118
_NOBLE_GASES = (2, 10, 18, 36, 54, 86, 118)


def _place(number: int) -> tuple[int, int]:
    """(group 1..18, period 1..7) by IUPAC; group 0 for lanthanum to ytterbium and actinium to nobelium."""
    if number == 0:
        return 0, 0
    if number == 2:
        return 18, 1
    period = 1 + sum(number > noble for noble in _NOBLE_GASES)
    first = 1 if period == 1 else _NOBLE_GASES[period - 2] + 1
    column = number - first + 1
    if period in (2, 3) and column > 2:
        column += 10
    elif period >= 6 and column > 2:
        column = column - 14 if column > 16 else 0
    return column, period


GROUP: tuple[int, ...] = tuple(_place(number)[0] for number in range(NUM_ELEMENTS + 1))
PERIOD: tuple[int, ...] = tuple(_place(number)[1] for number in range(NUM_ELEMENTS + 1))

CATEGORIES = (
    "nonmetal",
    "halogen",
    "noble gas",
    "metalloid",
    "alkali metal",
    "alkaline earth metal",
    "transition metal",
    "post-transition metal",
    "lanthanide",
    "actinide",
)
_NONMETALS = {1, 6, 7, 8, 15, 16, 34}
_METALLOIDS = {5, 14, 32, 33, 51, 52}


def _category(number: int) -> str:
    group, period = _place(number)
    by_group = {1: "alkali metal", 2: "alkaline earth metal", 17: "halogen", 18: "noble gas"}
    if number == 0:
        return ""
    if number in _NONMETALS:
        return "nonmetal"
    if number in _METALLOIDS:
        return "metalloid"
    if group in by_group:
        return by_group[group]
    if group == 0:
        return "lanthanide" if period == 6 else "actinide"
    return "transition metal" if group <= 12 else "post-transition metal"


CATEGORY: tuple[str, ...] = tuple(_category(number) for number in range(NUM_ELEMENTS + 1))
METALS = frozenset(CATEGORIES[4:])

PHASES = ("solid", "liquid", "gas")
_GASES = {1, 2, 7, 8, 9, 10, 17, 18, 36, 54, 86}
_LIQUIDS = {35, 80}


def _phase(number: int) -> str:
    """Phase at 25 degrees Celsius and 1 atm; not known for the elements past lawrencium."""
    if number == 0 or number > 103:
        return ""
    return "gas" if number in _GASES else "liquid" if number in _LIQUIDS else "solid"


PHASE: tuple[str, ...] = tuple(_phase(number) for number in range(NUM_ELEMENTS + 1))


def _column(values: str) -> tuple[float, ...]:
    known = [0.0, *map(float, values.split())]
    return tuple(known + [0.0] * (NUM_ELEMENTS + 1 - len(known)))


# Pauling scale, CRC Handbook of Chemistry and Physics.
ELECTRONEGATIVITY = _column(
    """
    2.20 0 0.98 1.57 2.04 2.55 3.04 3.44 3.98 0 0.93 1.31 1.61 1.90 2.19 2.58 3.16 0
    0.82 1.00 1.36 1.54 1.63 1.66 1.55 1.83 1.88 1.91 1.90 1.65 1.81 2.01 2.18 2.55 2.96 3.00
    0.82 0.95 1.22 1.33 1.60 2.16 1.90 2.20 2.28 2.20 1.93 1.69 1.78 1.96 2.05 2.10 2.66 2.60
    0.79 0.89 1.10 1.12 1.13 1.14 1.13 1.17 1.20 1.20 1.20 1.22 1.23 1.24 1.25 1.10 1.27
    1.30 1.50 2.36 1.90 2.20 2.20 2.28 2.54 2.00 1.62 2.33 2.02 2.00 2.20 2.20
    0.70 0.90 1.10 1.30 1.50 1.38 1.36 1.28 1.30 1.28 1.30 1.30 1.30 1.30 1.30 1.30 1.30
    """
)

# First ionisation energy in eV, NIST Atomic Spectra Database.
IONIZATION = _column(
    """
    13.598 24.587 5.392 9.323 8.298 11.260 14.534 13.618 17.423 21.565
    5.139 7.646 5.986 8.152 10.487 10.360 12.968 15.760
    4.341 6.113 6.561 6.828 6.746 6.767 7.434 7.902 7.881 7.640 7.726 9.394 5.999 7.899 9.789 9.752 11.814 14.000
    4.177 5.695 6.217 6.634 6.759 7.092 7.119 7.361 7.459 8.337 7.576 8.994 5.786 7.344 8.608 9.010 10.451 12.130
    3.894 5.212 5.577 5.539 5.473 5.525 5.582 5.644 5.670 6.150 5.864 5.939 6.022 6.108 6.184 6.254 5.426
    6.825 7.550 7.864 7.834 8.438 8.967 8.959 9.226 10.438 6.108 7.417 7.286 8.414 9.318 10.749
    4.073 5.278 5.380 6.307 5.890 6.194 6.266 6.026 5.974 5.991 6.198 6.282 6.368 6.500 6.580 6.626 4.960
    """
)

# Melting point in K (carbon: sublimation), CRC Handbook of Chemistry and Physics.
MELTING_POINT = _column(
    """
    13.99 0.95 453.65 1560 2349 3915 63.15 54.36 53.48 24.56 370.94 923 933.47 1687 317.3 388.36 171.6 83.81
    336.7 1115 1814 1941 2183 2180 1519 1811 1768 1728 1357.77 692.68 302.91 1211.4 1090 494 265.8 115.78
    312.45 1050 1799 2128 2750 2896 2430 2607 2237 1828.05 1234.93 594.22 429.75 505.08 903.78 722.66 386.85 161.4
    301.7 1000 1193 1068 1208 1297 1315 1345 1099 1585 1629 1680 1734 1802 1818 1097 1925
    2506 3290 3695 3459 3306 2719 2041.4 1337.33 234.32 577 600.61 544.7 527 575 202
    300 973 1323 2023 1841 1405.3 917 912.5 1449 1613 1259 1173 1133 1800 1100 1100 1900
    """
)
