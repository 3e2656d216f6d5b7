// Socket.IO: acks both ways, a namespace, binary events and acks, a refusal, pings.

import { Server } from "socket.io";
import { io as connect } from "socket.io-client";
import { capture, listening } from "./shared.mjs";

const server = await listening();
const io = new Server(server, { transports: ["websocket"], pingInterval: 150, pingTimeout: 1000 });
io.on("connection", (socket) => {
  socket.on("add", (a, b, ack) => ack(a + b));
  socket.on("quiz", async () => socket.emit("verdict", await socket.emitWithAck("question", "six times seven?")));
  socket.on("parcel", (data, ack) => ack({ returned: Buffer.from(data.first).reverse(), second: data.second }));
});
io.of("/admin").use((socket, next) => next(socket.handshake.auth.token === "sesame" ? undefined : new Error("who are you?")));
io.of("/admin").on("connection", (socket) => {
  socket.on("rooms", (ack) => ack(["lobby", "cellar"]));
  socket.emit("news", { text: "Grüße, \"Welt\" – 你好", n: 12345678901234567890n.toString() }, null, [1, 2.5]);
});

const once = (socket, event) => new Promise((done) => socket.once(event, done));
const settings = { transports: ["websocket"], reconnection: false, forceNew: true };

await capture("socketio", server.address().port, async (url) => {
  const socket = connect(url, settings);
  await once(socket, "connect");
  await socket.emitWithAck("add", 2, 3);
  socket.on("question", (_, ack) => ack(42));
  socket.emit("quiz");
  await once(socket, "verdict");
  await socket.emitWithAck("parcel", { first: Buffer.from([1, 2, 3, 255]), second: Buffer.from("héllo"), name: "two" });
  socket.emit("volley", Buffer.alloc(0));
  await once(socket.io, "ping");
  socket.close();
}, async (url) => {
  const socket = connect(`${url}/admin`, { ...settings, auth: { token: "sesame" } });
  const news = once(socket, "news");
  await once(socket, "connect");
  await news;
  await socket.emitWithAck("rooms");
  socket.close();
}, async (url) => {
  const socket = connect(`${url}/admin`, { ...settings, auth: { token: "guess" } });
  await once(socket, "connect_error");
  socket.io.engine.close();
});
process.exit(0);
