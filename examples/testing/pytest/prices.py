"""A client of the price ticker: the app under test."""

import json

import websockets


async def latest(url, symbol, count):
    """The next prices of a symbol, from a server at ws://HOST:PORT."""
    async with websockets.connect(url + "/ticker") as ws:
        await ws.send(json.dumps({"subscribe": symbol}))
        prices = []
        async for text in ws:
            message = json.loads(text)
            if message.get("symbol") == symbol:
                prices.append(message["price"])
            if len(prices) == count:
                break
        await ws.send(json.dumps({"unsubscribe": symbol}))
        await ws.recv()
        return prices
