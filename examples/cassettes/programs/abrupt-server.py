"""Answers two messages, and cuts the connection at the third, without a close frame."""

import json
import socket
import struct

import shared


async def answer(ws):
    for n in (1, 2):
        question = json.loads(await ws.recv())
        await shared.say(ws, {"answer": n, "to": question["question"]})
    await ws.recv()
    if args.how == "reset":
        # No time to linger: closing sends RST.
        linger = struct.pack("ii", 1, 0)
        ws.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    ws.transport.abort()


parser = shared.server_arguments(__doc__)
parser.add_argument("--how", choices=["reset", "eof"], default="reset", help="how TCP ends")
args = parser.parse_args()
shared.serve(answer, args.port)
