"""The update rule, by hand and beside PyTorch's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet.optim import PaperSGD

RATES = st.floats(1e-4, 0.5)


def walk(optimizer_class, rates, momentum, decay):
    """Where a weight goes on the slope of w² / 2, with a rate for each step."""
    w = torch.nn.Parameter(torch.tensor([1.0, -3.0], dtype=torch.float64))
    optimizer = optimizer_class([w], lr=rates[0], momentum=momentum, weight_decay=decay)
    places = []
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        w.square().sum().div(2).backward()
        optimizer.step()
        places.append(w.detach().clone())
    return torch.stack(places)


@given(
    rates=st.lists(RATES, min_size=1, max_size=8),
    momentum=st.floats(0, 0.99),
    decay=st.floats(0, 0.1),
)
@settings(deadline=None, max_examples=30)
def test_the_rule_by_hand(rates, momentum, decay):
    w, v, places = (
        torch.tensor([1.0, -3.0], dtype=torch.float64),
        torch.zeros(2, dtype=torch.float64),
        [],
    )
    for rate in rates:
        v = momentum * v - decay * rate * w - rate * w  # the gradient of w² / 2 is w
        w = w + v
        places.append(w)
    torch.testing.assert_close(walk(PaperSGD, rates, momentum, decay), torch.stack(places))


@given(rate=RATES, steps=st.integers(1, 12), momentum=st.floats(0, 0.99), decay=st.floats(0, 0.1))
@settings(deadline=None, max_examples=30)
def test_torchs_rule_while_the_rate_stays(rate, steps, momentum, decay):
    ours, theirs = (
        walk(rule, [rate] * steps, momentum, decay) for rule in (PaperSGD, torch.optim.SGD)
    )
    torch.testing.assert_close(ours, theirs)


def test_not_torchs_rule_once_the_rate_drops():
    rates = [0.1, 0.1, 0.01]
    ours, theirs = (walk(rule, rates, 0.9, 0.0) for rule in (PaperSGD, torch.optim.SGD))
    torch.testing.assert_close(ours[:2], theirs[:2])
    # The velocity of the first steps is used as it is by the one, at a tenth by the other
    assert ((ours[2] - ours[1]).abs() > 5 * (theirs[2] - theirs[1]).abs()).all()


def test_a_parameter_without_a_gradient_stays():
    w = torch.nn.Parameter(torch.ones(3))
    PaperSGD([w]).step()
    assert w.tolist() == [1, 1, 1]


def test_the_velocity_is_in_the_state_dict():
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = PaperSGD([w], lr=0.1)
    optimizer.step(lambda: (w.square().sum().backward(), w.sum())[1])
    assert optimizer.state_dict()["state"][0]["velocity"].shape == (3,)


@pytest.mark.parametrize(
    "option, sentence",
    [
        ({"momentum": 1.5}, "momentum must be >= 0 and < 1, got 1.5"),
        ({"lr": -1.0}, "lr must be >= 0, got -1.0"),
        ({"weight_decay": -0.1}, "weight_decay must be >= 0, got -0.1"),
    ],
)
def test_numbers_out_of_range(option, sentence):
    with pytest.raises(ValueError, match=sentence):
        PaperSGD([torch.nn.Parameter(torch.ones(1))], **option)
