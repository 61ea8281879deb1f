"""Weights of several targets' losses against the papers' formulas, written out with autograd."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tests.integration.test_overfit import EXACT, SPEC

from omnifuse.errors import InputError
from omnifuse.model import ModelOutput
from omnifuse.presets import BALANCINGS, PRESETS, TrainingSpec, with_settings
from omnifuse.tasks import TaskOutput
from omnifuse.tokens import Fused
from omnifuse.training.balancing import RATE, GradNorm, NoBalancing, UncertaintyBalancing, gradnorm_step, make_balancing
from omnifuse.training.loop import Trainer


def output_of(*, second=1.0):
    """Two targets on one representation, and an alignment that is no target's."""
    torch.manual_seed(0)
    weight = torch.randn(4, 3, requires_grad=True)
    pooled = torch.randn(6, 4) @ weight
    losses = {"a": pooled[:, 0].square().mean(), "b": second * pooled.tanh().square().mean()}
    targets = {name: TaskOutput(pooled, {}, {}, loss, loss) for name, loss in losses.items()}
    parts = {**losses, "alignment": pooled.abs().mean()}
    fused = Fused(pooled[:, None], torch.ones(6, 1, dtype=torch.bool), pooled)
    return ModelOutput(targets, fused, {}, sum(parts.values()), parts), weight


def test_uncertainty_is_the_papers_formula():
    balancing = UncertaintyBalancing(["a", "b"])
    s = torch.zeros(2, requires_grad=True)
    for _ in range(3):
        output, weight = output_of()
        losses = torch.stack([output.parts[name].detach() for name in "ab"])
        (gradient,) = torch.autograd.grad(((-s).exp() * losses + s / 2).sum(), s)
        wanted = (-s[0]).exp() * output.parts["a"] + (-s[1]).exp() * output.parts["b"] + output.parts["alignment"]
        balancing.begin()
        found = balancing.loss(output)
        torch.testing.assert_close(found, wanted.detach(), check_dtype=False)
        assert torch.autograd.grad(found, weight, retain_graph=True)[0].isfinite().all()
        balancing.learn()
        s = (s - RATE * gradient).detach().requires_grad_()
        assert list(balancing.log_variances.values()) == pytest.approx(s.tolist(), rel=1e-5)


def test_uncertainty_ends_where_the_weight_is_half_the_inverse_loss():
    balancing = UncertaintyBalancing(["a", "b"])
    for _ in range(1500):
        balancing.measured = {"a": 2.0, "b": 0.1}
        balancing.learn()
    assert balancing.weights == pytest.approx({"a": 0.25, "b": 5.0}, rel=1e-3)


def test_gradnorm_is_the_papers_formula():
    norms, ratios, start = torch.tensor([2.0, 0.5, 1.1]), torch.tensor([0.9, 0.4, 0.7]), torch.tensor([1.0, 0.7, 1.3])
    names = ("a", "b", "c")
    w = start.clone().requires_grad_()
    unit = norms.mean()
    pulls = w * norms / unit
    aims = (pulls.mean() * (ratios / ratios.mean()) ** 1.5).detach()
    (gradient,) = torch.autograd.grad((pulls - aims).abs().sum(), w)
    found = gradnorm_step(*(dict(zip(names, values.tolist(), strict=True)) for values in (start, norms, ratios)))
    assert list(found.values()) == pytest.approx((start - RATE * gradient).tolist(), rel=1e-5)


def test_gradnorm_measures_the_fused_representation_and_keeps_the_sum():
    balancing = GradNorm(["a", "b"])
    output, _ = output_of(second=0.05)
    balancing.begin()
    loss = balancing.loss(output)
    for name in "ab":
        (gradient,) = torch.autograd.grad(output.parts[name], output.fused.pooled, retain_graph=True)
        assert balancing.norms[name] == pytest.approx(float(gradient.norm()))
    torch.testing.assert_close(loss, output.loss)
    for _ in range(400):
        balancing.begin()
        balancing.loss(output_of(second=0.05)[0])
        balancing.learn()
        assert sum(balancing.weights.values()) == pytest.approx(2.0)
    pulls = [balancing.weights[name] * balancing.norms[name] for name in "ab"]
    assert balancing.weights["b"] > 1 > balancing.weights["a"]
    assert pulls[1] / pulls[0] > 0.8 or balancing.weights["a"] == pytest.approx(0.1, abs=0.06)


@pytest.mark.parametrize("kind", [UncertaintyBalancing, GradNorm])
def test_a_target_without_labels_moves_nothing_of_its_own_and_state_is_json(kind):
    balancing = kind(["a", "b"])
    output, _ = output_of()
    zero = output.parts["b"] * 0
    gone = replace(output, parts={**output.parts, "b": zero}, targets={**output.targets, "b": TaskOutput(zero, {}, {})})
    before = balancing.weights["b"]
    balancing.begin()
    balancing.loss(gone)
    balancing.learn()
    assert balancing.weights["b"] == before
    balancing.begin()
    balancing.loss(output)
    balancing.learn()
    other = kind(["a", "b"])
    other.load(json.loads(json.dumps(balancing.state())))
    assert other.weights == balancing.weights
    assert other.state() == balancing.state()


def test_names():
    assert [type(make_balancing(name, ["a", "b"])) for name in BALANCINGS] == [
        NoBalancing,
        UncertaintyBalancing,
        GradNorm,
    ]
    assert type(make_balancing("gradnorm", ["a"])) is NoBalancing
    assert TrainingSpec().balancing == "none"
    with pytest.raises(InputError, match=r"there is no balancing 'gradnrm'. did you mean 'gradnorm'"):
        with_settings(PRESETS["tiny"], {"balancing": "gradnrm"})
    output, _ = output_of()
    assert NoBalancing().loss(output) is output.loss


@pytest.mark.parametrize("name", ["uncertainty", "gradnorm"])
def test_training_with_missing_labels_keeps_a_record_of_the_weights(plain_problem, name):
    model = plain_problem.network(**EXACT)
    trainer = Trainer(model, plain_problem.source(), replace(SPEC, epochs=7, balancing=name), seed=0)
    result = trainer.run()
    assert [step for step, _ in result.weights] == [0, 10, 20]
    assert result.weights[0][1] != result.weights[-1][1]
    assert set(result.weights[0][1]) == {"kind", "tags", "price"}
    assert all(0 < weight < 21 for _, weights in result.weights for weight in weights.values())
    assert result.bad_steps == []
