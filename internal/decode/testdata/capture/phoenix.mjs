// Phoenix channels, serializer 2 (an array, and binary) and serializer 1 (an
// object). The clients are the library, now and of then; the server is a
// stand-in, because Phoenix itself is in Elixir.

import { createRequire } from "node:module";
import { Socket } from "phoenix";
import WebSocket, { WebSocketServer } from "ws";
import { capture, listening } from "./shared.mjs";

globalThis.window ??= { WebSocket };
const { Socket: OldSocket } = createRequire(import.meta.url)("phoenix-v1/priv/static/phoenix.js");

const server = await listening();
new WebSocketServer({ server, handleProtocols: () => "phoenix" }).on("connection", (ws, request) => {
  const old = new URL(request.url, "ws://h").searchParams.get("vsn") === "1.0.0";
  const send = (join_ref, ref, topic, event, payload) =>
    ws.send(JSON.stringify(old ? { topic, event, payload, ref } : [join_ref, ref, topic, event, payload]));
  ws.on("message", (data, binary) => {
    if (binary) return answerBinary(ws, data);
    const message = JSON.parse(data);
    const [join, ref, topic, event, payload] = old ? [null, message.ref, message.topic, message.event, message.payload] : message;
    const reply = (status, response = {}) => send(join, ref, topic, "phx_reply", { status, response });
    if (event === "phx_join" && topic === "room:cellar") return reply("error", { reason: "unauthorized" });
    if (event === "shout") send(null, null, topic, "shout", payload);
    else reply("ok", event === "add" ? { sum: payload.a + payload.b } : {});
    if (event === "phx_leave") send(join, ref, topic, "phx_close", {});
  });
});

// answerBinary replies to a push with a binary payload, pushes one and broadcasts one.
function answerBinary(ws, data) {
  const [kind, ...lengths] = data.subarray(0, 5);
  if (kind !== 0) throw new Error(`a client sends kind ${kind}`);
  let at = 5;
  const [join, ref, topic] = lengths.map((n) => data.toString("utf8", at, (at += n)));
  const message = (kind, ...texts) =>
    ws.send(Buffer.concat([Buffer.from([kind, ...texts.map((s) => Buffer.byteLength(s))]), Buffer.from(texts.join("")), data.subarray(at)]));
  message(1, join, ref, topic, "ok");
  message(0, join, topic, "pushed");
  message(2, topic, "broadcast");
}

const done = (push) => new Promise((resolve) => push.receive("ok", resolve).receive("error", resolve));
const heard = (channel, event) => new Promise((resolve) => channel.on(event, resolve));

async function play(socket, binary) {
  socket.connect();
  const room = socket.channel("room:lobby", { user: "ann" });
  await done(room.join());
  await done(room.push("add", { a: 2, b: 3 }));
  const shouted = heard(room, "shout");
  room.push("shout", { body: "Grüße" });
  await shouted;
  if (binary) {
    const broadcast = heard(room, "broadcast");
    await done(room.push("upload", new Uint8Array([0, 1, 2, 255]).buffer));
    await broadcast;
  }
  const cellar = socket.channel("room:cellar");
  await done(cellar.join());
  cellar.leave();
  await new Promise((resolve) => setTimeout(resolve, 150)); // for a heartbeat
  await done(room.leave());
  await new Promise((resolve) => socket.disconnect(resolve));
}

await capture("phoenix", server.address().port,
  (url) => play(new Socket(`${url}/socket`, { transport: WebSocket, heartbeatIntervalMs: 100, authToken: "abc" }), true),
  (url) => play(new OldSocket(`${url}/socket`, { transport: WebSocket, heartbeatIntervalMs: 100 }), false));
process.exit(0);
