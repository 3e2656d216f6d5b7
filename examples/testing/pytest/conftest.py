import contextlib
import pathlib

import pytest

import replay

CASSETTES = pathlib.Path(__file__).parents[2] / "cassettes"


@pytest.fixture
def fake_server():
    """fake_server("ticker") is the URL of a recorded server; the test's end checks that all went as recorded."""
    with contextlib.ExitStack() as servers:
        yield lambda name, *flags: servers.enter_context(replay.fake_server(CASSETTES / f"{name}.cassette.jsonl", *flags))
