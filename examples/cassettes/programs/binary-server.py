"""Echoes messages of up to 2 MiB, on websockets."""

import shared


async def echo(ws):
    async for message in ws:
        await ws.send(message)


args = shared.server_arguments(__doc__).parse_args()
shared.serve(echo, args.port, max_size=2**21)
