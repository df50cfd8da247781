import json

import pytest
import torch

from graphium import registry
from graphium.errors import GraphiumError
from graphium.nn.outputs import GAUSSIAN
from graphium.training.losses.base import Loss
from graphium.training.losses.heads import DEFAULT_LOSS, HeadLoss, Losses, check_bounds, check_losses

MIXED = [
    ("regression", ["mae", {"name": "huber", "delta": 0.5}, "", "mse", {"name": "huber", "delta": 0.5}, "mae"], 3),
    ("regression", ["gaussian", "gaussian", *[{"name": "gaussian", "beta": 0.5}] * 4], 2),
    ("binary", ["", "focal", {"name": "bce", "pos_weight": "auto"}, {"name": "bce", "pos_weight": 3}, "focal", ""], 4),
    ("multiclass", ["ce", "focal", {"name": "focal", "alpha": [1, 2, 3, 4]}, "focal", "", "ce"], 3),
    ("ordinal", ["hybrid_ce", "ce", "", {"name": "hybrid_ce", "regression": "mae"}, "focal", "hybrid_ce"], 4),
]
STATISTICS = torch.tensor([0.5, 0.2, 0.9, 0.5, torch.nan, 0.001], dtype=torch.float64)


@pytest.mark.parametrize(
    ("kind", "losses", "num_parts", "bounds"),
    [(*case, bounds) for case in MIXED for bounds in (False, True) if case[0] == "regression" or not bounds],
)
def test_tasks_of_one_head_may_have_different_losses(
    kind, losses, num_parts, bounds, make_head, make_labels, make_prediction
):
    outputs = registry.build("loss", losses[0] or DEFAULT_LOSS[kind]).outputs
    loss = HeadLoss(make_head(kind, *losses, outputs=outputs), STATISTICS)
    assert len(loss.parts) == num_parts
    labels = make_labels(kind, bounds=bounds)
    prediction = make_prediction(kind, losses[0]).requires_grad_()
    numerator, denominator = loss(prediction, labels)
    (gradient,) = torch.autograd.grad(numerator.sum(), prediction)
    for task, config in enumerate(losses):
        alone = HeadLoss(make_head(kind, *[config] * 6, outputs=outputs), STATISTICS)(prediction, labels)
        torch.testing.assert_close(numerator[task], alone[0][task])
        torch.testing.assert_close(denominator[task], alone[1][task])
        (of_task,) = torch.autograd.grad(alone[0][task], prediction)
        torch.testing.assert_close(gradient[:, task], of_task[:, task])


@pytest.mark.parametrize("kind", DEFAULT_LOSS)
def test_every_kind_has_a_default_loss(kind, make_head, make_labels, make_prediction):
    head = make_head(kind, *[""] * 6)
    labels, prediction = make_labels(kind), make_prediction(kind)
    numerators, denominators = Losses([head])({head.name: prediction}, {head.name: labels})
    expected = registry.build("loss", DEFAULT_LOSS[kind])(prediction, labels)
    assert torch.equal(numerators[head.name], expected[0])
    assert torch.equal(denominators[head.name], expected[1])
    assert Losses([head])({head.name: prediction}, {}) == ({}, {})


def test_statistics_reach_the_losses_of_their_head(make_head, make_labels, make_prediction):
    auto = {"name": "bce", "pos_weight": "auto"}
    heads = [make_head("binary", *[auto] * 6, dataset=name) for name in ("one", "two")]
    statistics = {heads[0].name: STATISTICS, heads[1].name: torch.full((6,), 0.25)}
    labels, prediction = make_labels("binary"), make_prediction("binary")
    losses = Losses(heads, statistics)
    found, _ = losses(dict.fromkeys(statistics, prediction), dict.fromkeys(statistics, labels))
    expected, _ = registry.build("loss", {"name": "bce", "pos_weight": 3.0})(prediction, labels)
    torch.testing.assert_close(found[heads[1].name], expected)
    assert not torch.allclose(found[heads[0].name], expected)
    assert not losses.state_dict()


def test_auto_without_statistics_says_what_to_pass(make_head):
    head = make_head("binary", {"name": "bce", "pos_weight": {"t0": "auto"}}, dataset="tox")
    check_losses([head])
    check_bounds([head], [])
    with pytest.raises(GraphiumError, match="bce loss of tox has pos_weight auto.*pass `statistics`.*or give a number"):
        Losses([head])


def test_loss_of_the_wrong_kind_names_those_that_fit(make_head):
    fitting = "evidential, gaussian, huber, mae, mse, quantile"
    with pytest.raises(
        GraphiumError, match=rf"demo is 'bce', which does not fit regression tasks; choose one of {fitting}$"
    ):
        check_losses([make_head("regression", "bce")])
    with pytest.raises(
        GraphiumError, match="'hybrid_ce', which does not fit multiclass tasks; choose one of ce, focal$"
    ):
        check_losses([make_head("multiclass", "hybrid_ce")])


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("regression", "torch.nn.L1Loss", "derive it from graphium.training.losses.base.Loss"),
        ("regression", "hubber", "did you mean 'huber'"),
        ("regression", {"name": "huber", "detla": 1}, r"demo\.detla; did you mean 'delta'"),
        ("regression", {"name": "huber", "delta": -1}, "delta of the huber loss is -1.0; give a number above 0"),
        ("regression", {"name": "huber", "delta": "wide"}, "'wide'"),
        ("regression", {"name": "quantile", "levels": [0.1, 0.9]}, "levels .* are 0.1, 0.9; add 0.5, the median"),
        ("regression", {"name": "quantile", "levels": [0.9, 0.5]}, "are 0.9, 0.5; give them once each, in rising"),
        ("regression", {"name": "quantile", "levels": [0.5, 0.5]}, "are 0.5, 0.5; give them once each"),
        ("regression", {"name": "quantile", "levels": [0, 0.5]}, "are 0, 0.5; give numbers between 0 and 1"),
        ("regression", {"name": "quantile", "levels": []}, "are none; add 0.5"),
        ("regression", {"name": "quantile", "levels": 0.5}, "levels is 0.5"),
        ("regression", {"name": "gaussian", "beta": 2}, "beta of the gaussian loss is 2.0; give a number from 0 to 1"),
        ("regression", {"name": "evidential", "regularization": -1}, "is -1.0; give a number of at least 0"),
        (
            "binary",
            {"name": "bce", "pos_weight": 0},
            "pos_weight of the bce loss is 0.0; give a number above 0 or auto",
        ),
        ("binary", {"name": "bce", "pos_weight": "aut"}, "pos_weight of the bce loss is aut; give a number above 0 or"),
        ("binary", {"name": "bce", "pos_weight": {"t0": "big"}}, "pos_weight of t0 of the bce loss is big; give"),
        (
            "binary",
            {"name": "bce", "pos_weight": {"a": 1}},
            "names 'a', which is no task of demo with this loss; choices",
        ),
        ("binary", {"name": "bce", "pos_weight": {"t_0": 1}}, "did you mean 't0'"),
        ("binary", {"name": "bce", "pos_weight": {"x*": 1}}, r"names 'x\*'"),
        ("binary", {"name": "focal", "gamma": -1}, "gamma of the focal loss is -1.0; give a number of at least 0"),
        ("binary", {"name": "focal", "alpha": 1}, "alpha of the focal loss is 1.0; give a number between 0 and 1"),
        ("binary", {"name": "focal", "alpha": [1, 2]}, "is a list of 2, and t0 is binary; give one number"),
        (
            "multiclass",
            {"name": "focal", "alpha": 0.5},
            "is one number, and t0 is multiclass; give a list of 4 numbers",
        ),
        ("multiclass", {"name": "focal", "alpha": [1, 2]}, "is a list of 2, and t0 is multiclass; give a list of 4"),
        ("multiclass", {"name": "focal", "alpha": [0, 0, 0, 0]}, "give numbers of at least 0, not all of them 0"),
        (
            "multiclass",
            {"name": "ce", "label_smoothing": 1},
            "label_smoothing .* is 1.0; give a number from 0 to below 1",
        ),
        (
            "ordinal",
            {"name": "hybrid_ce", "alpha": 1.5},
            "alpha of the hybrid_ce loss is 1.5; give a number from 0 to 1",
        ),
        ("ordinal", {"name": "hybrid_ce", "regression": "huber"}, "regression is 'huber'"),
    ],
)
def test_bad_loss_configuration(kind, config, message, make_head):
    config = json.loads(json.dumps(config))
    outputs = ()
    if isinstance(config, dict) and config["name"] in ("quantile", "gaussian", "evidential"):
        outputs = registry.build("loss", config["name"]).outputs
    with pytest.raises(GraphiumError, match=message):
        check_losses([make_head(kind, config, outputs=outputs)])


def test_arguments_may_name_tasks_of_several_heads_of_their_dataset(make_head):
    config = {"name": "bce", "pos_weight": {"t0": 2.0, "t2": 3.0}}
    first, second = make_head("binary", config), make_head("binary", config, config, config)
    check_losses([first, second])
    with pytest.raises(GraphiumError, match="names 't2'"):
        check_losses([first])
    with pytest.raises(GraphiumError, match="names 't2', which is no task of demo"):
        check_losses([first, make_head("binary", config, config, config, dataset="other")])


def test_a_loss_and_the_outputs_of_its_tasks_must_agree(make_head):
    with pytest.raises(
        GraphiumError,
        match=r"'gaussian', which compares the outputs mean, log_variance per task, and the tasks have one output; "
        r"give them outputs=\('mean', 'log_variance'\)",
    ):
        HeadLoss(make_head("regression", "gaussian"))
    with pytest.raises(
        GraphiumError, match="'mae', which compares one output per task, and the tasks have the outputs"
    ):
        HeadLoss(make_head("regression", "gaussian", "mae", outputs=GAUSSIAN))


BOUNDED = [name for name in registry.names("loss") if registry.lookup("loss", name).takes_bounds]


class LogCosh(Loss):
    def element(self, prediction, value, task):
        return torch.log(torch.cosh(prediction - value))


def test_a_loss_that_takes_no_bounds_refuses_them_at_set_up(make_head):
    assert BOUNDED == ["gaussian", "huber", "mae", "mse"]
    own = make_head("regression", "", f"{__name__}.LogCosh", dataset="mine")
    other = make_head("binary", "", dataset="other")
    check_bounds([own, other], [])
    check_bounds([make_head("regression", "mae", "huber")], ["demo_graph_regression"])
    used = f"mae, {__name__}.LogCosh"
    message = rf"labels of mine \(t0, t1\) are bounds.*loss {used} does not take.*one of gaussian, huber, mae, mse"
    with pytest.raises(GraphiumError, match=message):
        check_bounds([own, other], [own.name])


@pytest.mark.parametrize("loss", ["quantile", "evidential"])
def test_quantiles_and_evidence_take_no_bounds(loss, make_head):
    head = make_head("regression", loss, outputs=registry.build("loss", loss).outputs)
    with pytest.raises(GraphiumError, match=f"the loss {loss} does not take bounds; choose one of gaussian, huber"):
        check_bounds([head], [head.name])
