"""Subscribes to a ticker, hears five prices, unsubscribes, closes."""

import shared

SYMBOL, TICKS = "BTC", 5


async def watch(args):
    async with shared.connect(args.url, "/ticker") as ws:
        await shared.say(ws, {"subscribe": SYMBOL})
        ack = await shared.hear(ws)
        assert ack == {"subscribed": SYMBOL}, ack
        for seq in range(1, TICKS + 1):
            tick = await shared.hear(ws)
            assert (tick["symbol"], tick["seq"]) == (SYMBOL, seq), tick
            assert tick["price"] > 0, tick
        await shared.say(ws, {"unsubscribe": SYMBOL})
        ack = await shared.hear(ws)
        assert ack == {"unsubscribed": SYMBOL}, ack


shared.run(watch(shared.client_arguments(__doc__).parse_args()))
