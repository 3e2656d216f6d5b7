"""Logs in, has three things done with the token that it got, logs out.

With --forge it sends a token of its own and wants to be thrown out.
"""

import secrets

import websockets

import shared

TASKS = ["open the door", "feed the cat", "close the door"]


async def visit(args):
    async with shared.connect(args.url, "/login") as ws:
        nonce = secrets.token_hex(8)
        await shared.say(ws, {"type": "login", "user": "ann", "nonce": nonce})
        welcome = await shared.hear(ws)
        assert welcome["type"] == "welcome" and welcome["nonce"] == nonce, welcome
        assert isinstance(welcome["expires"], int), welcome
        token = welcome["token"]
        assert len(bytes.fromhex(token)) == 16, token
        if args.forge:
            await shared.say(ws, {"type": "do", "token": secrets.token_hex(16), "count": 1, "task": TASKS[0]})
            refusal = await shared.hear(ws)
            assert refusal["type"] == "error", refusal
            return await ended(ws, 4401, "wrong token")
        for count, task in enumerate(TASKS, 1):
            await shared.say(ws, {"type": "do", "token": token, "count": count, "task": task})
            done = await shared.hear(ws)
            assert done == {"type": "done", "count": count, "task": task}, done
        await shared.say(ws, {"type": "logout", "token": token, "count": len(TASKS) + 1})
        await ended(ws, 4001, "bye")


async def ended(ws, code, reason):
    try:
        await shared.hear(ws)
    except websockets.ConnectionClosed:
        print("closed", ws.close_code, ws.close_reason, flush=True)
    assert (ws.close_code, ws.close_reason) == (code, reason), (ws.close_code, ws.close_reason)


parser = shared.client_arguments(__doc__)
parser.add_argument("--forge", action="store_true", help="send a wrong token")
shared.run(visit(parser.parse_args()))
