"""A client on the websockets library: say.py URL PATH MESSAGE… sends each
message when the one before was answered, and prints the answers.
"""

import asyncio
import sys

import websockets


async def say(url, path, *messages):
    # No keepalive pings: they would come at a time of their own.
    async with websockets.connect(url + path, ping_interval=None) as ws:
        for m in messages:
            await ws.send(m)
            print(await ws.recv(), flush=True)


asyncio.run(asyncio.wait_for(say(*sys.argv[1:]), 20))
