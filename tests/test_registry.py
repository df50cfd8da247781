from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any

import pytest

from graphium import registry
from graphium.errors import GraphiumError
from graphium.registry import Part, PartConfig, build, check_arguments, lookup, names, register, validate


class Norm:
    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        self.channels, self.eps = channels, eps


class Layer:
    def __init__(
        self,
        in_channels: int,
        width: int,
        dropout: float = 0.0,
        norm: Annotated[PartConfig, Part("test_norm")] | None = None,
        encoders: list[Annotated[PartConfig, Part("test_norm")]] | None = None,
    ) -> None:
        self.arguments = (in_channels, width, dropout)
        self.norm = None if norm is None else build("test_norm", norm, channels=width)


class Anything:
    def __init__(self, **options: Any) -> None:
        self.options = options


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two kinds of parts that exist in this test alone."""
    parts = {"test_norm": {"layer_norm": Norm}, "test_layer": {"gine": Layer, "anything": Anything}}
    monkeypatch.setattr(registry, "_parts", {**registry._parts, **parts})
    monkeypatch.setattr(registry, "_loaded", {*registry._loaded, *parts})
    supplied = {"test_norm": ("channels",), "test_layer": ("in_channels",)}
    monkeypatch.setattr(registry, "_SUPPLIED", {**registry._SUPPLIED, **supplied})
    yield


def refused(config: Any, kind: str = "test_layer") -> str:
    with pytest.raises(GraphiumError) as caught:
        validate(kind, config, where="model.layer")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_build_takes_a_name_or_a_mapping() -> None:
    layer = build("test_layer", {"name": "gine", "width": 8, "norm": "layer_norm"}, in_channels=4, unused=1)
    assert layer.arguments == (4, 8, 0.0)
    assert layer.norm.channels == 8
    assert build("test_norm", "layer_norm", channels=3).channels == 3


def test_a_name_is_forgiving() -> None:
    for name in ("layer-norm", "Layer_Norm", " layer norm "):
        assert lookup("test_norm", name) is Norm


def test_numbers_are_converted_to_the_annotated_type() -> None:
    _, arguments = validate("test_layer", {"name": "gine", "width": 8.0, "dropout": 1})
    assert arguments == {"width": 8, "dropout": 1.0}
    assert isinstance(arguments["width"], int)


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"name": "gine", "widht": 8}, "did you mean 'width'"),
        ({"name": "gine", "width": "wide"}, "model.layer.width is 'wide'"),
        ({"name": "gine", "width": 8.5}, "model.layer.width is 8.5"),
        ({"name": "gine"}, "model.layer.width is missing"),
        ({"name": "gine", "width": 8, "in_channels": 4}, "unknown key model.layer.in_channels"),
        ({"name": "gien", "width": 8}, "did you mean 'gine'"),
        ({"width": 8}, "mapping with `name`"),
        ({"name": 3}, "is not the name"),
        (None, "give the name"),
        ({"name": "gine", "width": 8, "norm": "no_norm"}, "unknown test_norm 'no_norm' at model.layer.norm"),
        ({"name": "gine", "width": 8, "norm": {"name": "layer_norm", "epz": 1}}, "model.layer.norm.epz"),
        ({"name": "gine", "width": 8, "encoders": ["layer_norm", "x"]}, "model.layer.encoders[1]"),
    ],
)
def test_wrong_configurations_get_a_sentence(config: Any, part: str) -> None:
    assert part in refused(config)


def test_an_optional_part_may_be_null() -> None:
    assert build("test_layer", {"name": "gine", "width": 8, "norm": None}, in_channels=4).norm is None


def test_a_part_with_open_options_takes_any() -> None:
    assert build("test_layer", {"name": "anything", "a": 1}, in_channels=4).options == {"a": 1, "in_channels": 4}


def test_two_parts_of_one_name_are_refused() -> None:
    register("test_norm", "layer_norm")(Norm)
    with pytest.raises(GraphiumError, match="two parts of kind 'test_norm' are named 'layer-norm'"):
        register("test_norm", "layer-norm")(Layer)


def test_unknown_kind_lists_the_kinds() -> None:
    with pytest.raises(GraphiumError, match="test_norm"):
        names("test_nrom")


def test_a_dotted_path_is_the_users_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("my_lab_layers")
    module.MyConv = Layer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_lab_layers", module)
    assert build("test_layer", {"name": "my_lab_layers.MyConv", "width": 3}, in_channels=1).arguments[1] == 3
    with pytest.raises(GraphiumError, match="trust_code=True"):
        lookup("test_layer", "my_lab_layers.MyConv", trust_code=False)
    with pytest.raises(GraphiumError, match="cannot import"):
        lookup("test_layer", "my_lab_layers.NoConv")
    with pytest.raises(GraphiumError, match="cannot import"):
        lookup("test_layer", "no_such_lab.MyConv")


def test_one_word_where_a_list_of_parts_is_due() -> None:
    with pytest.raises(GraphiumError, match=r"encoders is 'layer_norm'; give a list, e.g. .*encoders=\[layer_norm\]"):
        validate("test_layer", {"name": "gine", "width": 3, "encoders": "layer_norm"})


def test_arguments_of_a_function() -> None:
    def prepare(path: str, limit: int | None = None) -> None: ...

    assert check_arguments(prepare, {"path": "a.csv", "limit": 3}, where="data") == {"path": "a.csv", "limit": 3}
    with pytest.raises(GraphiumError, match="data.path is missing"):
        check_arguments(prepare, {}, where="data")


@pytest.mark.parametrize("kind", sorted(registry._MODULES))
def test_every_kind_of_the_program_has_parts_that_can_be_judged(kind: str) -> None:
    assert names(kind)
    for name in names(kind):
        part = lookup(kind, name)
        if isinstance(part, (type, types.FunctionType)):
            # An unresolvable annotation would leave the arguments of the part unjudged.
            typing.get_type_hints(part.__init__ if isinstance(part, type) else part, include_extras=True)
