"""One of the two who talk in a chat room: alice asks, bob answers, alice closes.

It does not matter who of them comes first.
"""

import uuid
from urllib.parse import urlencode

import shared

QUESTION, ANSWER, FAREWELL = "Hello bob, are you there?", "I am, alice.", "Good. Until tomorrow."
DIALOGUE = [("alice", QUESTION), ("bob", ANSWER), ("alice", FAREWELL)]


def reaction(user, heard):
    """What this user says to what was heard, if anything."""
    if user == "alice" and heard["type"] == "joined" and {"alice", "bob"} <= set(heard["members"]):
        return {"type": "say", "text": QUESTION}
    if user == "bob" and heard.get("text") == QUESTION:
        return {"type": "say", "text": ANSWER, "reply_to": heard["id"]}
    if user == "alice" and heard.get("text") == ANSWER:
        return {"type": "say", "text": FAREWELL}


async def talk(args):
    messages = []
    path = "/chat?" + urlencode({"room": args.room, "user": args.user})
    async with shared.connect(args.url, path) as ws:
        while len(messages) < args.expect:
            heard = await shared.hear(ws)
            assert heard["type"] in ("joined", "message"), heard
            if heard["type"] == "message":
                messages.append(heard)
            answer = reaction(args.user, heard)
            if answer:
                await shared.say(ws, answer)
    check(messages)


def check(messages):
    assert [(m["user"], m["text"]) for m in messages] == DIALOGUE[: len(messages)], messages
    ids = [str(uuid.UUID(m["id"])) for m in messages]
    assert len(set(ids)) == len(ids), ids
    if len(messages) > 1:
        assert messages[1]["reply_to"] == ids[0], messages[1]


parser = shared.client_arguments(__doc__)
parser.add_argument("--user", choices=["alice", "bob"], required=True)
parser.add_argument("--room", default="1")
parser.add_argument("--expect", type=int, default=len(DIALOGUE), help="leave after so many messages, joinings not counted")
shared.run(talk(parser.parse_args()))
