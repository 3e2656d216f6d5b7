// Asks the stand-in for a realtime API one thing and hears the answer piece by
// piece, asks another with reference to it, takes that back, twice.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import WebSocket from "ws";
import { hearing, target } from "./shared.mjs";

const ws = new WebSocket(target("/v1/realtime?model=stand-in"));
const hear = hearing(ws);

async function expect(type) {
  const event = await hear();
  assert.equal(event.type, type);
  assert.match(event.event_id, /^event_/);
  return event;
}

// say sends an event and returns the id that it chose for it.
function say(type, fields) {
  const event_id = randomUUID();
  ws.send(JSON.stringify({ event_id, type, ...fields }));
  return event_id;
}

const question = (text) => ({ type: "message", role: "user", content: [{ type: "input_text", text }] });

const { session } = await expect("session.created");
assert.match(session.id, /^sess_/);

say("session.update", { session: { instructions: "Answer briefly." } });
const updated = await expect("session.updated");
assert.deepEqual(updated.session, { ...session, instructions: "Answer briefly." });

say("conversation.item.create", { item: question("What does a tape do?") });
const first = await expect("conversation.item.created");
assert.equal(first.previous_item_id, null);
assert.match(first.item.id, /^item_/);

say("response.create");
const { response } = await expect("response.created");
const reply = await expect("conversation.item.created");
assert.equal(reply.previous_item_id, first.item.id);
let text = "";
let event = await hear();
for (; event.type === "response.text.delta"; event = await hear()) {
  assert.deepEqual([event.response_id, event.item_id], [response.id, reply.item.id]);
  text += event.delta;
}
assert.deepEqual([event.type, event.text], ["response.text.done", text]);
const done = await expect("response.done");
assert.deepEqual([done.response.id, done.response.status], [response.id, "completed"]);
assert.deepEqual(done.response.output.map((item) => item.id), [reply.item.id]);

say("conversation.item.create", { previous_item_id: reply.item.id, item: question("And what does it forget?") });
const second = await expect("conversation.item.created");
assert.equal(second.previous_item_id, reply.item.id);

say("conversation.item.delete", { item_id: second.item.id });
const deleted = await expect("conversation.item.deleted");
assert.equal(deleted.item_id, second.item.id);

const again = say("conversation.item.delete", { item_id: second.item.id });
const { error } = await expect("error");
assert.deepEqual([error.code, error.event_id], ["item_not_found", again]);

ws.close(1000, "done");
await once(ws, "close");
