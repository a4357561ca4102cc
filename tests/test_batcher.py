"""Who shares a call of the network with whom, and that everyone gets the rows of his own crops."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.serve.batcher import Batcher

FOREVER = 3600.0  # seconds; a test that waits for the clock would hang


@dataclass
class Network:
    """Gives the crop's first pixel as its only probability, and notes the size of each call."""

    calls: list[int] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        self.calls.append(len(crops))
        assert self.gate.wait(10)
        if (crops == 255).all(axis=(1, 2)).any():
            raise ValueError("a white crop")
        return crops[:, 0, :1].astype(np.float32)


def crops(*values: int) -> np.ndarray:
    return np.stack([np.full((48, 48), value, np.uint8) for value in values])


async def ask(batcher: Batcher, *sizes: int) -> list[list[float]]:
    """Requests of these sizes at once, numbered through; what each got."""
    ends = np.cumsum(sizes)
    requests = [crops(*range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]
    rows = await asyncio.gather(*(batcher(request) for request in requests))
    return [row[:, 0].tolist() for row in rows]


async def until(condition) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never happened")


def test_requests_at_the_same_time_share_one_call_and_get_their_own_rows() -> None:
    network = Network()
    got = asyncio.run(ask(Batcher(network, 10, FOREVER), 1, 4, 2, 3))
    assert got == [[0], [1, 2, 3, 4], [5, 6], [7, 8, 9]]
    assert network.calls == [10]


def test_a_lone_request_goes_when_its_time_has_come() -> None:
    network = Network()
    assert asyncio.run(ask(Batcher(network, 64, 0.01), 2)) == [[0, 1]]
    assert network.calls == [2]


def test_a_batch_is_no_larger_than_its_limit() -> None:
    network = Network()
    asyncio.run(ask(Batcher(network, 4, 0.01), *[1] * 10))
    assert network.calls == [4, 4, 2]


def test_a_request_is_never_split() -> None:
    network = Network()
    got = asyncio.run(ask(Batcher(network, 4, 0.01), 3, 3, 9))
    assert got == [[0, 1, 2], [3, 4, 5], list(range(6, 15))]
    assert network.calls == [3, 3, 9]


def test_a_limit_of_one_turns_batching_off() -> None:
    network = Network()
    asyncio.run(ask(Batcher(network, 1, FOREVER), 1, 1, 1))
    assert network.calls == [1, 1, 1]


def test_the_next_batch_gathers_while_a_call_runs() -> None:
    async def scenario() -> None:
        batcher = Batcher(network, 5, 0.0)
        network.gate.clear()
        first = asyncio.create_task(batcher(crops(0)))
        await until(lambda: network.calls == [1])
        others = [asyncio.create_task(batcher(crops(value))) for value in range(1, 6)]
        await asyncio.sleep(0)
        network.gate.set()
        assert [row.tolist() for row in await asyncio.gather(first, *others)] == [[[v]] for v in range(6)]

    network = Network()
    asyncio.run(scenario())
    assert network.calls == [1, 5]


def test_an_error_reaches_its_batch_alone() -> None:
    async def scenario() -> None:
        batcher = Batcher(network, 2, 0.0)
        got = await asyncio.gather(batcher(crops(255)), batcher(crops(1)), batcher(crops(2)), return_exceptions=True)
        assert [str(each) for each in got[:2]] == ["a white crop"] * 2
        assert np.asarray(got[2]).tolist() == [[2]]
        assert (await batcher(crops(3))).tolist() == [[3]]

    network = Network()
    asyncio.run(scenario())


def test_who_has_given_up_is_not_classified() -> None:
    async def scenario() -> None:
        batcher = Batcher(network, 3, FOREVER)
        gone = asyncio.create_task(batcher(crops(1)))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        rows = await asyncio.gather(batcher(crops(2)), batcher(crops(3)))
        assert [row.tolist() for row in rows] == [[[2]], [[3]]]

    network = Network()
    asyncio.run(scenario())
    assert network.calls == [2]


def test_giving_up_during_the_call_does_no_harm_to_others() -> None:
    async def scenario() -> None:
        batcher = Batcher(network, 2, FOREVER)
        network.gate.clear()
        gone, stays = asyncio.create_task(batcher(crops(1))), asyncio.create_task(batcher(crops(2)))
        await until(lambda: network.calls == [2])
        gone.cancel()
        network.gate.set()
        assert (await stays).tolist() == [[2]]
        with pytest.raises(asyncio.CancelledError):
            await gone

    network = Network()
    asyncio.run(scenario())


def test_closing_answers_all_who_wait() -> None:
    async def scenario() -> None:
        batcher = Batcher(network, 1, 0.0)
        network.gate.clear()
        asked = [asyncio.create_task(batcher(crops(value))) for value in range(3)]
        await until(lambda: network.calls == [1])
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        assert not closing.done()
        network.gate.set()
        await closing
        assert [row.tolist() for row in await asyncio.gather(*asked)] == [[[0]], [[1]], [[2]]]

    network = Network()
    asyncio.run(scenario())


def test_the_size_of_each_call_is_told() -> None:
    seen: list[int] = []
    asyncio.run(ask(Batcher(Network(), 3, 0.01, seen.append), 2, 1, 1))
    assert seen == [3, 1]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=20), st.integers(1, 12))
def test_any_mix_of_requests_gets_its_own_rows(sizes: list[int], limit: int) -> None:
    network = Network()
    got = asyncio.run(ask(Batcher(network, limit, 0.0), *sizes))
    assert [value for row in got for value in row] == list(range(sum(sizes)))
    assert [len(row) for row in got] == sizes
    assert sum(network.calls) == sum(sizes)
    assert max(network.calls) <= max(limit, *sizes)
