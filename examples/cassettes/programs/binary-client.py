"""Sends three binary messages of 1 MiB, the same in every run, and wants them back."""

import hashlib
import random

import shared


async def send(args):
    async with shared.connect(args.url, "/binary", max_size=2**21) as ws:
        for seed in (1, 2, 3):
            data = random.Random(seed).randbytes(2**20)
            await ws.send(data)
            back = await ws.recv()
            print("binary", len(back), "sha256", hashlib.sha256(back).hexdigest(), flush=True)
            assert back == data, f"message {seed} came back changed"


shared.run(send(shared.client_arguments(__doc__).parse_args()))
