"""An end on the websockets library that says its part of a plan without waiting
for answers, while it listens. See ../node/chat.js, which does the same.
"""

import asyncio
import base64
import hashlib
import json
import ssl
import sys

import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

# No keepalive pings: they would come at a time of their own.
OPTIONS = {"ping_interval": None, "max_size": None}


def cut(data, pieces):
    """Text is cut between characters: the library does not do otherwise."""
    size = -(-len(data) // pieces)
    return [data[i * size : (i + 1) * size] for i in range(pieces)]


async def say(ws, words, report):
    for word in words:
        data = base64.b64decode(word.get("b64") or "")
        if word["op"] == "ping":
            pong = await ws.ping(data)
            pong.add_done_callback(lambda f, d=data: f.cancelled() or f.exception() or report["pongs"].append(d.decode()))
            continue
        if word["op"] == "text":
            data = data.decode()
        pieces = word.get("pieces") or 1
        await ws.send(cut(data, pieces) if pieces > 1 else data)


async def listen(ws, part, report, enough):
    async for m in ws:
        op = "text" if isinstance(m, str) else "binary"
        data = m.encode() if op == "text" else m
        report["heard"].append(
            {"op": op, "len": len(data), "sum": hashlib.sha256(data).hexdigest(), "head": base64.b64encode(data[:40]).decode()}
        )
        if len(report["heard"]) == part["hear"]:
            enough.set()


async def chat(ws, role, plan, report):
    part = json.load(open(plan))[role]
    report.update(heard=[], pongs=[], protocol=ws.subprotocol or "")
    enough = asyncio.Event()
    listening = asyncio.create_task(listen(ws, part, report, enough))
    try:
        await say(ws, part["send"], report)
        done = asyncio.create_task(enough.wait())
        await asyncio.wait({done, listening}, return_when=asyncio.FIRST_COMPLETED)
        done.cancel()
        if enough.is_set() and role == "server":
            await ws.send("bye")
        elif enough.is_set():
            await ws.close(1000, "done")
        await listening
    except websockets.ConnectionClosed as e:
        report["error"] = str(e)
    await ws.wait_closed()
    report.update(code=ws.close_code, reason=ws.close_reason)
    return report


async def call(order):
    options = dict(OPTIONS, subprotocols=order.get("protocols"))
    if order.get("ca"):
        options["ssl"] = ssl.create_default_context(cafile=order["ca"])
    if order.get("deflate"):
        options["compression"] = None
    if order.get("deflate") == "no_takeover":
        options["extensions"] = [ClientPerMessageDeflateFactory(True, True)]
    try:
        ws = await websockets.connect(order["url"], **options)
    except websockets.InvalidStatusCode as e:
        return {"error": type(e).__name__, "status": e.status_code}
    report = {"extensions": ws.response_headers.get("Sec-WebSocket-Extensions", "")}
    return await chat(ws, "client", order["plan"], report)


async def serve(order):
    async def connection(ws, path=None):
        headers = {name.lower(): ", ".join(ws.request_headers.get_all(name)) for name in ws.request_headers}
        report = await chat(ws, "server", order["plan"], {"url": ws.path, "headers": headers})
        print(json.dumps(report), flush=True)

    options = dict(OPTIONS, subprotocols=order.get("protocols"))
    if order.get("cert"):
        options["ssl"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        options["ssl"].load_cert_chain(order["cert"], order["key"])
    server = await websockets.serve(connection, "127.0.0.1", 0, **options)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Future()


async def main():
    if sys.argv[1:2] == ["serve"]:
        await serve(json.loads(sys.argv[2]))
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await call(json.loads(line))), flush=True)


asyncio.run(main())
