"""wstape replay server as a context manager. Copy it beside your tests."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

PATIENCE = 5  # seconds


class ReplayFailed(AssertionError):
    """The client did something else than was recorded; the text is the report."""


@contextlib.contextmanager
def fake_server(cassette, *flags):
    """Serves a cassette once; gives ws://HOST:PORT, to which the client adds its path."""
    with tempfile.TemporaryDirectory() as folder:
        address = pathlib.Path(folder, "addr.json")
        command = [os.environ.get("WSTAPE", "wstape"), "replay", "server", str(cassette), "--once"]
        command += ["--listen", "127.0.0.1:0", "--addr-file", str(address), *flags]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as server:
            try:
                yield "ws://" + listening(server, address)
            finally:
                report = ended(server)
                if server.returncode != 0:
                    raise ReplayFailed(report)


def listening(server, address):
    """HOST:PORT, once there is one."""
    deadline = time.monotonic() + PATIENCE
    while not address.exists():
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("wstape does not listen")
        time.sleep(0.01)
    return json.loads(address.read_text())["listen"]


def ended(server):
    """The report, or what kept the server from serving. It ends by itself when
    every session has been played, however that went; a client that never
    connected is not waited for."""
    try:
        report, talk = server.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGINT)
        report, talk = server.communicate()
    return report or talk
