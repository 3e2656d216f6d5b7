"""A chat room on websockets: who connects to /chat?room=ROOM&user=NAME is in it."""

import json
import uuid
from datetime import datetime, timezone
from urllib.parse import parse_qsl, urlsplit

import websockets

import shared


class Room:
    def __init__(self):
        self.members = {}  # connections by user
        self.said = set()  # ids of messages

    def tell(self, message):
        websockets.broadcast(self.members.values(), json.dumps(message))


rooms = {}


async def member(ws):
    query = dict(parse_qsl(urlsplit(ws.path).query))
    room, user = rooms.setdefault(query["room"], Room()), query["user"]
    room.members[user] = ws
    room.tell({"type": "joined", "user": user, "members": sorted(room.members)})
    try:
        async for text in ws:
            await hear(ws, room, user, json.loads(text))
    finally:
        if room.members.get(user) is ws:
            del room.members[user]


async def hear(ws, room, user, heard):
    message = {
        "type": "message",
        "id": str(uuid.uuid4()),
        "at": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "user": user,
        "text": heard["text"],
    }
    if "reply_to" in heard:
        if heard["reply_to"] not in room.said:
            await shared.say(ws, {"type": "error", "error": "no such message: " + heard["reply_to"]})
            return
        message["reply_to"] = heard["reply_to"]
    room.said.add(message["id"])
    room.tell(message)


args = shared.server_arguments(__doc__).parse_args()
shared.serve(member, args.port)
