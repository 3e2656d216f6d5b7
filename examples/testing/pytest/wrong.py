"""Fails: this is not what was recorded."""

import asyncio

import prices


def test_wrong(fake_server):
    url = fake_server("ticker", "--pace", "instant")
    asyncio.run(prices.latest(url, "ETH", 5))
