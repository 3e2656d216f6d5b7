// Engine.IO without Socket.IO, and the ways a transport is upgraded.

import { Server } from "engine.io";
import { Socket } from "engine.io-client";
import { capture, listening } from "./shared.mjs";

const server = await listening();
const engine = new Server({ pingInterval: 150 });
engine.attach(server);
engine.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));

await capture("engineio", server.address().port, async (url) => {
  const socket = new Socket(url, { transports: ["polling", "websocket"] });
  await new Promise((done) => socket.once("upgrade", done));
  const echo = (data) => {
    const back = new Promise((done) => socket.once("message", done));
    socket.send(data);
    return back;
  };
  await echo("hello");
  await echo("42[\"not Socket.IO\"]");
  await echo(Buffer.from([0, 1, 2, 254]));
  await new Promise((done) => socket.once("ping", done));
  socket.close();
});
process.exit(0);
