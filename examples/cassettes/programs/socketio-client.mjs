// Meets the post office: events with acks, a question that the server asks, a
// letter to itself by the id that the server chose, a parcel of binary.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { io } from "socket.io-client";
import { target } from "./shared.mjs";

const socket = io(target("/"), { transports: ["websocket"], reconnection: false });

// show prints what came, binary as base64.
function show(what, ...values) {
  console.log(what, JSON.stringify(values, (key, value) => (value?.type === "Buffer" ? `base64:${Buffer.from(value.data).toString("base64")}` : value)));
}

async function ask(event, ...values) {
  const answer = await socket.timeout(10_000).emitWithAck(event, ...values);
  show(`ack of ${event}`, answer);
  return answer;
}

socket.onAny((event, ...values) => show(event, ...values.filter((value) => typeof value !== "function")));
socket.on("connect_error", (problem) => {
  console.error("not connected:", problem.message);
  process.exit(1);
});
// Deaf to the end it would wait for answers for a long time.
socket.on("disconnect", (why) => {
  if (why !== "io client disconnect") {
    console.error("disconnected:", why);
    process.exit(1);
  }
});
socket.on("question", (question, ack) => ack(42));

await once(socket, "connect");
console.log("connected", socket.id);

assert.deepEqual(await ask("greet", "ann"), { greeting: "Hello ann", id: socket.id });
assert.equal(await ask("add", 2, 3), 5);

const verdict = once(socket, "verdict");
socket.emit("quiz");
assert.deepEqual(await verdict, [{ answer: 42, right: true }]);

const letter = once(socket, "letter");
assert.deepEqual(await ask("letter", { to: socket.id, text: "note to self" }), { delivered: socket.id });
const [{ from, text }] = await letter;
assert.deepEqual([from, text], [socket.id, "note to self"]);

const data = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
const back = once(socket, "parcel");
const receipt = await ask("parcel", { name: "bytes", data });
assert.deepEqual(receipt, { name: "bytes", size: 256, sha256: createHash("sha256").update(data).digest("hex") });
const [parcel] = await back;
assert.equal(parcel.name, "bytes, returned");
assert.deepEqual(parcel.data, Buffer.from(data).reverse());

socket.disconnect();
