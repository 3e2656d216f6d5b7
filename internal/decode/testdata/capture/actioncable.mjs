// Action Cable: the library's client against Rails' own server, actioncable.ru
// (Debian: ruby-actioncable and puma).

import { spawn } from "node:child_process";
import net from "node:net";
import path from "node:path";
import { adapters, createConsumer } from "@rails/actioncable";
import WebSocket from "ws";
import { capture, listening, until } from "./shared.mjs";

adapters.WebSocket = WebSocket;
Object.assign(globalThis, { addEventListener() {}, removeEventListener() {}, document: { visibilityState: "visible" } });

const free = await listening();
const { port } = free.address();
await new Promise((done) => free.close(done));
const puma = spawn("puma", ["--bind", `tcp://127.0.0.1:${port}`, "--quiet", path.join(import.meta.dirname, "actioncable.ru")], { stdio: "inherit" });
process.on("exit", () => puma.kill());
await until(() => new Promise((done) => {
  const probe = net.connect(port, "127.0.0.1", () => (probe.destroy(), done(true)));
  probe.on("error", () => done(false));
}), "puma");

await capture("actioncable", port, async (url) => {
  const consumer = createConsumer(`${url}/cable`);
  const heard = {};
  const wait = (name) => new Promise((done) => (heard[name] = done));
  const connected = wait("connected");
  const room = consumer.subscriptions.create({ channel: "RoomChannel", room: "lobby" }, {
    connected: () => heard.connected(), received: (data) => heard.received(data),
  });
  await connected;
  const received = wait("received");
  room.perform("say", { text: "Grüße" });
  await received;
  const rejected = wait("rejected");
  consumer.subscriptions.create({ channel: "RoomChannel", room: "cellar" }, { rejected: () => heard.rejected() });
  await rejected;
  await new Promise((done) => setTimeout(done, 3500)); // Rails pings every three seconds
  room.unsubscribe();
  consumer.disconnect();
});
process.exit(0);
