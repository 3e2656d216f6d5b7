"""A login on websockets: its token must come with every message, and a count."""

import json
import secrets
import time

import shared

LIFETIME = 3600  # seconds


async def session(ws):
    login = await read(ws)
    if login["type"] != "login":
        return await reject(ws, "log in first")
    token = secrets.token_hex(16)
    expires = int(time.time()) + LIFETIME
    await shared.say(ws, {"type": "welcome", "nonce": login["nonce"], "token": token, "expires": expires})
    count = 0
    async for text in ws:
        message = json.loads(text)
        count += 1
        if message["token"] != token:
            return await reject(ws, "wrong token")
        if message["count"] != count:
            return await reject(ws, f"count {message['count']} instead of {count}")
        if message["type"] == "logout":
            return await ws.close(4001, "bye")
        await shared.say(ws, {"type": "done", "count": count, "task": message["task"]})


async def read(ws):
    return json.loads(await ws.recv())


async def reject(ws, why):
    await shared.say(ws, {"type": "error", "error": why})
    await ws.close(4401, why)


args = shared.server_arguments(__doc__).parse_args()
shared.serve(session, args.port)
