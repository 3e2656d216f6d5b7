// A post office on Socket.IO: acks both ways, letters by socket id, parcels of
// binary.

import { createHash } from "node:crypto";
import http from "node:http";
import { Server } from "socket.io";
import { listen } from "./shared.mjs";

const server = http.createServer();
const io = new Server(server, { transports: ["websocket"] });

io.on("connection", (socket) => {
  socket.on("greet", (name, ack) => ack({ greeting: `Hello ${name}`, id: socket.id }));
  socket.on("add", (a, b, ack) => ack(a + b));
  socket.on("letter", ({ to, text }, ack) => {
    if (!io.sockets.sockets.has(to)) return ack({ error: `nobody is ${to}` });
    io.to(to).emit("letter", { from: socket.id, text, at: Date.now() });
    ack({ delivered: to });
  });
  socket.on("parcel", ({ name, data }, ack) => {
    ack({ name, size: data.length, sha256: createHash("sha256").update(data).digest("hex") });
    socket.emit("parcel", { name: `${name}, returned`, data: Buffer.from(data).reverse() });
  });
  socket.on("quiz", async () => {
    const answer = await socket.timeout(10_000).emitWithAck("question", "What is six times seven?");
    socket.emit("verdict", { answer, right: answer === 42 });
  });
});

listen(server);
