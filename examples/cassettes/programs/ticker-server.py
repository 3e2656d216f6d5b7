"""A price ticker on websockets: five ticks for a subscription, one every 100 ms.

Prices are random; with --steady they are the same in every run.
"""

import asyncio
import json
import random

import shared

TICKS, PAUSE = 5, 0.1


async def tick(ws, symbol):
    for seq in range(1, TICKS + 1):
        await asyncio.sleep(PAUSE)
        price = 40000 + 10 * seq if args.steady else round(random.uniform(30000, 50000), 2)
        await shared.say(ws, {"symbol": symbol, "seq": seq, "price": price})


async def ticker(ws):
    ticking = {}  # tasks by symbol
    try:
        async for text in ws:
            order = json.loads(text)
            if "subscribe" in order:
                symbol = order["subscribe"]
                await shared.say(ws, {"subscribed": symbol})
                ticking[symbol] = asyncio.create_task(tick(ws, symbol))
            elif order.get("unsubscribe") in ticking:
                symbol = order["unsubscribe"]
                ticking.pop(symbol).cancel()
                await shared.say(ws, {"unsubscribed": symbol})
            else:
                await shared.say(ws, {"error": "no such subscription", "order": order})
    finally:
        for task in ticking.values():
            task.cancel()


parser = shared.server_arguments(__doc__)
parser.add_argument("--steady", action="store_true", help="the same prices in every run")
args = parser.parse_args()
shared.serve(ticker, args.port)
