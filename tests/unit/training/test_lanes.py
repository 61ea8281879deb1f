"""Networks side by side: groups, failures, interruption, randomness of their own."""

import os
import signal
import threading

import pytest
import torch
from torch import nn

from omnifuse.layers import ChannelDropout, Dropout
from omnifuse.training.lanes import Halted, draws_globally, give_generator, group_sizes, side_by_side


@pytest.mark.parametrize("lanes", range(1, 9))
@pytest.mark.parametrize("count", range(1, 12))
def test_groups_hold_every_network_and_fill_the_lanes(count, lanes):
    sizes = group_sizes(count, lanes)
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(count, lanes)
    assert max(sizes) < 2 * lanes or count < 2 * lanes


def test_results_come_in_order_and_threads_are_given_back():
    before = torch.get_num_threads()
    seen = []

    def job(number):
        def run(halt):
            seen.append((threading.current_thread().name, torch.get_num_threads()))
            return number

        return run

    assert side_by_side([job(number) for number in range(5)]) == list(range(5))
    assert len({name for name, _ in seen}) == 5
    assert all(threads == max(1, before // 5) for _, threads in seen)
    assert torch.get_num_threads() == before


def test_a_failure_halts_the_others_and_is_raised():
    ended = []

    def fails(halt):
        raise ValueError("lane 0")

    def waits(halt):
        assert halt.wait(20)
        ended.append(True)
        raise Halted

    with pytest.raises(ValueError, match="lane 0"):
        side_by_side([fails, waits, waits])
    assert ended == [True, True]


def test_one_network_has_a_thread_of_its_own_and_all_cores():
    seen = side_by_side([lambda halt: (threading.current_thread(), torch.get_num_threads())])
    assert seen[0][0] is not threading.current_thread()
    assert seen[0][1] == torch.get_num_threads()


@pytest.mark.parametrize("count", [1, 3])
def test_an_interruption_asks_for_checkpoints(count):
    asked, all_started = [], threading.Barrier(count)

    def waits(halt):
        all_started.wait(20)
        if halt.wait(20):
            asked.append(halt.save)
        raise Halted

    def interrupts(halt):
        all_started.wait(20)
        os.kill(os.getpid(), signal.SIGINT)
        if halt.wait(20):
            asked.append(halt.save)
        raise Halted

    with pytest.raises(KeyboardInterrupt):
        side_by_side([interrupts, *[waits] * (count - 1)])
    assert asked == [True] * count


def test_a_failure_does_not_ask_for_checkpoints():
    asked = []

    def waits(halt):
        asked.append(halt.wait(20) and not halt.save)
        raise Halted

    with pytest.raises(ZeroDivisionError):
        side_by_side([lambda halt: 1 // 0, waits])
    assert asked == [True]


def test_a_generator_of_its_own_repeats_whatever_else_is_drawn():
    network = nn.Sequential(Dropout(0.5), ChannelDropout(0.5)).train()
    values = torch.ones(4, 6, 5, 5)
    found = []
    for _ in range(2):
        give_generator(network, torch.Generator().manual_seed(3))
        torch.rand(7)
        found.append(network(values))
    assert torch.equal(*found)
    give_generator(network, None)
    assert network[0].generator is None


@pytest.mark.parametrize(("part", "places"), [(Dropout(0.25), 200 * 40), (ChannelDropout(0.25), 200)])
def test_dropout_keeps_the_mean_and_drops_its_share(part, places):
    torch.manual_seed(0)
    values = torch.ones(20, 10, 8, 5)
    found = part.train()(values)
    assert found.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    kept = (found[:, :, 0, 0] if places == 200 else found).gt(0).float()
    assert kept.mean().item() == pytest.approx(0.75, abs=4 * (0.25 * 0.75 / places) ** 0.5)
    if places == 200:
        assert torch.equal(found, found[:, :, :1, :1].expand_as(found))
    assert torch.equal(part.eval()(values), values)


def test_torchs_own_dropout_is_told_apart():
    assert draws_globally(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)))
    assert not draws_globally(nn.Sequential(nn.Linear(2, 2), Dropout(0.1)))
