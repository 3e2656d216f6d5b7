"""A client on the websockets library that does what JSON lines on stdin say.

Each command is answered with one JSON line on stdout.
"""

import asyncio
import base64
import json
import ssl
import sys

import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory


class Client:
    ws = None

    async def connect(self, c):
        # No keepalive pings: they would come at a time of their own. The library's
        # limit of 1 MiB refuses a message of just that size when it comes in fragments.
        options = {"ping_interval": None, "max_size": 2**21}
        if c.get("ca"):
            options["ssl"] = ssl.create_default_context(cafile=c["ca"])
        if c.get("deflate") == "off":
            options["compression"] = None
        if c.get("deflate") == "no_takeover":
            options["compression"] = None
            options["extensions"] = [ClientPerMessageDeflateFactory(True, True)]
        try:
            self.ws = await websockets.connect(c["url"], **options)
        except websockets.InvalidStatusCode as e:
            return {"error": type(e).__name__, "status": e.status_code}
        return {"extensions": self.ws.response_headers.get("Sec-WebSocket-Extensions", "")}

    async def send(self, c):
        await self.ws.send(c["text"] if "text" in c else base64.b64decode(c["b64"]))
        return {}

    async def recv(self, c):
        try:
            m = await self.ws.recv()
        except websockets.ConnectionClosed as e:
            return {"error": type(e).__name__, "code": e.code, "reason": e.reason}
        return {"text": m} if isinstance(m, str) else {"b64": base64.b64encode(m).decode()}

    async def ping(self, c):
        await (await self.ws.ping(c["text"]))
        return {}

    async def close(self, c):
        await self.ws.close(c["code"], c.get("reason", ""))
        return await self.closed(c)

    async def closed(self, c):
        await self.ws.wait_closed()
        return {"code": self.ws.close_code, "reason": self.ws.close_reason}


async def main():
    client = Client()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        print(json.dumps(await getattr(client, command["do"])(command)), flush=True)


asyncio.run(main())
