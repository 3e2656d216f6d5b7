import asyncio

import pytest

import prices
import replay
from conftest import CASSETTES

RECORDED = [48764.36, 37168.4, 45008.23, 45459.16, 36812.51]


def test_prices_are_those_of_the_tape(fake_server):
    url = fake_server("ticker", "--pace", "instant")
    assert asyncio.run(prices.latest(url, "BTC", 5)) == RECORDED


def test_another_server_for_each_visit(fake_server):
    for _ in range(2):
        url = fake_server("ticker", "--pace", "instant")
        assert max(asyncio.run(prices.latest(url, "BTC", 5))) == 48764.36


def test_a_wrong_client_is_found_out():
    with pytest.raises(replay.ReplayFailed, match='subscribe: "BTC" → "ETH"'):
        with replay.fake_server(CASSETTES / "ticker.cassette.jsonl") as url:
            asyncio.run(prices.latest(url, "ETH", 5))
