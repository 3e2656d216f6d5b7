"""Calls a JSON-RPC 2.0 server; its ids start anywhere and count up."""

import itertools
import random
from datetime import datetime

import shared

METHOD_NOT_FOUND = -32601


async def converse(args):
    ids = itertools.count(random.randrange(1, 2**31))
    async with shared.connect(args.url, "/rpc") as ws:

        async def call(method, params=None):
            id = next(ids)
            request = {"jsonrpc": "2.0", "id": id, "method": method}
            await shared.say(ws, {**request, "params": params} if params is not None else request)
            answer = await shared.hear(ws)
            assert answer["id"] == id, (id, answer)
            return answer

        assert (await call("add", [2, 3]))["result"] == 5

        time = (await call("time"))["result"]
        when = datetime.fromisoformat(time["rfc3339"].replace("Z", "+00:00"))
        assert round(when.timestamp() * 1000) == time["epoch_ms"], time

        handle = (await call("subscribe", {"topic": "beat", "count": 2}))["result"]["handle"]
        for n in (1, 2):
            beat = await shared.hear(ws)
            assert beat["method"] == "beat" and "id" not in beat, beat
            assert (beat["params"]["handle"], beat["params"]["n"]) == (handle, n), beat
        assert (await call("unsubscribe", {"handle": handle}))["result"] == {"ended": handle}

        assert (await call("divide", [1, 0]))["error"]["code"] == METHOD_NOT_FOUND


shared.run(converse(shared.client_arguments(__doc__).parse_args()))
