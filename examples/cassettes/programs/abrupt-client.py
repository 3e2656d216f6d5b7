"""Asks three times and wants the connection cut after two answers."""

import websockets

import shared


async def ask(args):
    # Not as a context manager: that would close what is no longer there.
    ws = await shared.connect(args.url, "/abrupt")
    for n in (1, 2):
        await shared.say(ws, {"question": n})
        answer = await shared.hear(ws)
        assert answer == {"answer": n, "to": n}, answer
    await shared.say(ws, {"question": 3})
    try:
        await shared.hear(ws)
    except websockets.ConnectionClosedError as end:
        how = "reset" if isinstance(end.__cause__, ConnectionResetError) else "eof"
        print("cut", ws.close_code, how, flush=True)
    assert ws.close_code == 1006, ws.close_code
    assert args.how in (None, how), how


parser = shared.client_arguments(__doc__)
parser.add_argument("--how", choices=["reset", "eof"], help="want it to be cut so")
shared.run(ask(parser.parse_args()))
