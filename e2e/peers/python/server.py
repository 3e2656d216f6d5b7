"""An echo server on the websockets library.

Prints "listening PORT", then one JSON line for each connection that has ended.
"""

import argparse
import asyncio
import json
import ssl
from urllib.parse import parse_qsl, urlsplit

import websockets


async def echo(websocket, path=None):
    async for m in websocket:
        await websocket.send(m)


async def close(websocket):
    """/close?code=N&reason=R: close after the first message."""
    query = dict(parse_qsl(urlsplit(websocket.path).query))
    await websocket.recv()
    await websocket.close(int(query["code"]), query.get("reason", ""))


async def ping(websocket):
    """/ping: ping the client for each message, answer when its pong has come."""
    async for m in websocket:
        await (await websocket.ping(m))
        await websocket.send("ponged " + m)


async def upper(websocket):
    """/upper: answer in capitals."""
    async for m in websocket:
        await websocket.send(m.upper())


ACTIONS = {"/close": close, "/ping": ping, "/upper": upper}


async def serve(websocket, path=None):
    try:
        await ACTIONS.get(urlsplit(websocket.path).path, echo)(websocket)
    except websockets.ConnectionClosed:
        pass
    await websocket.wait_closed()
    event = {"event": "close", "code": websocket.close_code, "reason": websocket.close_reason}
    print(json.dumps(event), flush=True)


async def main():
    args = argparse.ArgumentParser()
    args.add_argument("--port", type=int, default=0)
    args.add_argument("--cert")
    args.add_argument("--key")
    args = args.parse_args()
    context = None
    if args.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.cert, args.key)
    # No keepalive pings: they would come at a time of their own. The library's
    # limit of 1 MiB refuses a message of just that size when it comes in fragments.
    server = await websockets.serve(
        serve, "127.0.0.1", args.port, ssl=context, ping_interval=None, max_size=2**21
    )
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Future()


asyncio.run(main())
