"""What the Python programs share."""

import argparse
import asyncio
import json

import websockets

PATIENCE = 20  # seconds until a client gives up

# No keepalive pings: they would come at a time of their own.
OPTIONS = {"ping_interval": None}


def server_arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    return parser


def client_arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("url", help="ws://HOST:PORT, the path is added")
    return parser


def serve(handler, port, **options):
    """Serves until it is killed; prints "listening PORT" when it listens."""

    async def connection(ws, path=None):
        await handler(ws)

    async def main():
        server = await websockets.serve(connection, "127.0.0.1", port, **OPTIONS, **options)
        print("listening", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()

    asyncio.run(main())


def connect(url, path, **options):
    return websockets.connect(url.rstrip("/") + path, **OPTIONS, **options)


def run(scenario):
    """Runs a client; what it asserts in vain ends it with exit code 1."""
    asyncio.run(asyncio.wait_for(scenario, PATIENCE))


async def say(ws, message):
    await ws.send(json.dumps(message))


async def hear(ws):
    """The next message, printed as it came."""
    text = await ws.recv()
    print(text, flush=True)
    return json.loads(text)
