"""The head that learns yaws before they are written."""

import math

import pytest
import torch

from kyvo_ros.training.yaw_head import YawHead

EVERYWHERE = torch.tensor([0.3, -2.0, 1.1, 3.0])


def _telling(head: YawHead, angles: torch.Tensor) -> torch.Tensor:
    """States of as many objects whose directions `head` tells, of angles (N, K)."""
    with torch.no_grad():
        head.said.weight.copy_(torch.eye(2 * angles.shape[1]) / head._shrink)
        head.said.bias.zero_()
    return torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(1)


def test_a_new_head_teaches_states_that_say_nothing_yet():
    torch.manual_seed(0)
    head, states = YawHead(6, (1, 2)), torch.zeros(4, 6, requires_grad=True)
    told = head(states)
    assert told.shape == (4, 2, 2) and told.dtype == torch.float32
    head.loss(states, EVERYWHERE, torch.tensor([1.0, 2.0, 1.0, 1.0])).backward()
    assert (states.grad.abs().sum(-1) > 1e-3).all()


def test_a_multiple_counts_for_objects_that_look_the_same_whenever_it_does():
    head = YawHead(4, (1, 2))
    angles = torch.stack([EVERYWHERE + math.pi, 2 * EVERYWHERE], dim=-1)  # wrong in the first, right in the second
    states = _telling(head, angles)
    for turns, loss in ((1.0, 4.0), (2.0, 0.0), (4.0, 0.0)):
        assert head.loss(states, EVERYWHERE, torch.full((4,), turns)).item() == pytest.approx(loss, abs=1e-5)
    mixed = head.loss(states, EVERYWHERE, torch.tensor([1.0, 2.0, 2.0, 2.0]))
    assert mixed.item() == pytest.approx(4.0, abs=1e-5), "the mean is over those that count"


def test_yaws_half_a_turn_apart_are_the_same_of_what_turns_twice():
    head = YawHead(2, (2,))
    states = _telling(head, 2 * EVERYWHERE[:, None])
    for other in (EVERYWHERE, EVERYWHERE + math.pi):
        assert head.loss(states, other, torch.full((4,), 2.0)).item() == pytest.approx(0, abs=1e-5)
    assert head.loss(states, EVERYWHERE + math.pi / 2, torch.full((4,), 2.0)).item() == pytest.approx(4, abs=1e-4)


def test_batches_without_turned_objects_teach_nothing_and_touch_every_weight():
    head, none = YawHead(5, (1, 2)), torch.zeros(0)
    loss = head.loss(torch.zeros(0, 5), none, none) + head.loss_of_cells(
        torch.zeros(2, 3, 4, 5), torch.ones(2, 3, 4, 2, 2), torch.zeros(2, 3, 4, 2))
    loss.backward()
    assert loss.item() == 0 and all(weight.grad is not None for weight in head.parameters())


def test_it_learns_directions():
    torch.manual_seed(0)
    yaws = (torch.rand(200) * 2 - 1) * math.pi
    states = torch.stack([yaws.cos(), yaws.sin(), (2 * yaws).cos(), (2 * yaws).sin()], -1) @ torch.randn(4, 16)
    head, turns = YawHead(16, (1, 2)), torch.ones(200)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        loss = head.loss(states, yaws, turns)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02
