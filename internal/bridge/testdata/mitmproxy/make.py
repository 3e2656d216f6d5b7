"""Makes flows.mitm: what mitmdump writes when a client and a server of the
websockets library converse through it.

    python3 make.py flows.mitm        (mitmproxy and python3-websockets of Debian 12)

The same conversation is in ../../mitmproxy_test.go. This file is also the addon
that drops, edits and injects messages inside of mitmdump.
"""

import asyncio
import http
import socket
import sys
import urllib.error
import urllib.request


def websocket_message(flow):
    """The addon: what it does to a message stands in the message."""
    from mitmproxy import ctx

    message = flow.websocket.messages[-1]
    if message.injected or not message.from_client:
        return
    if message.content == b"drop me":
        message.drop()
    elif message.content == b"edit me":
        message.content = b"edited"
    elif message.content == b"inject":
        ctx.master.commands.call("inject.websocket", flow, True, b"from nowhere", True)


async def serve(ws):
    if ws.path == "/gone":
        await ws.recv()
        ws.transport.abort()
        return
    async for message in ws:
        if message == "close":
            await ws.close(4000, "grüße")
            return
        await ws.send(message)


async def refuse(path, headers):
    if path.startswith("/no"):
        return http.HTTPStatus.FORBIDDEN, [("Content-Type", "text/plain")], "members only\n".encode()


async def converse(base):
    import websockets

    options = {"ping_interval": None, "extra_headers": {"Authorization": "Bearer verysecret", "Cookie": "sid=verysecret"}}

    async def ask(ws, message):
        await ws.send(message)
        return await ws.recv()

    async with websockets.connect(base + "/chat?token=verysecret&room=1", subprotocols=["chat.v1"], **options) as ws:
        await ask(ws, '{"type":"hello"}')
        await ask(ws, bytes([0, 1, 2, 255]))
        await ws.send("drop me")
        await ask(ws, "edit me")
        await ask(ws, "inject")
        await ws.recv()
        await ask(ws, "x" * 3_000)
        await ws.close(1000, "bye")
    async with websockets.connect(base + "/chat", compression=None) as ws:
        await ws.send("close")
        await ws.wait_closed()
    async with websockets.connect(base + "/gone") as ws:
        await ws.send("now")
        await ws.wait_closed()
    try:
        await websockets.connect(base + "/no")
    except websockets.InvalidStatusCode:
        pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


async def main(out):
    import websockets

    async with websockets.serve(serve, "127.0.0.1", 0, process_request=refuse, subprotocols=["chat.v1"]) as server:
        upstream, port = server.sockets[0].getsockname()[1], free_port()
        command = ["mitmdump", "--quiet", "--set", "flow_detail=0", "--mode", f"reverse:http://127.0.0.1:{upstream}"]
        command += ["--listen-host", "127.0.0.1", "--listen-port", str(port), "--scripts", __file__, "--save-stream-file", out]
        proxy = await asyncio.create_subprocess_exec(*command)
        try:
            for _ in range(400):
                with socket.socket() as s:
                    if s.connect_ex(("127.0.0.1", port)) == 0:
                        break
                await asyncio.sleep(0.05)
            page = asyncio.get_running_loop().run_in_executor(None, fetch, f"http://127.0.0.1:{port}/no/page")
            await page
            await converse(f"ws://127.0.0.1:{port}")
        finally:
            proxy.terminate()
            await proxy.wait()


def fetch(url):
    try:
        urllib.request.urlopen(url, timeout=10).read()
    except urllib.error.HTTPError:
        pass


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(main(sys.argv[1]), 60))
