// SignalR's JSON hub. The client is the library; there is no server of it in
// JavaScript, so this one writes with the library's own protocol.

import * as signalr from "@microsoft/signalr";
import { WebSocketServer } from "ws";
import { capture, listening } from "./shared.mjs";

const { MessageType } = signalr;

// serve is the other side of a hub: parse gives the messages in what the client
// sends, because the library's own parser skips what only a server hears.
export function serve(server, protocol, parse) {
  new WebSocketServer({ server }).on("connection", (ws) => {
    let greeted = false;
    ws.on("message", (data, binary) => {
      if (greeted) for (const message of parse(data)) answer(message, (m) => ws.send(protocol.writeMessage(m)), ws, protocol);
      else ws.send("{}\x1e", { binary });
      greeted = true;
    });
  });
}

function answer({ type, invocationId, target, arguments: args }, send, ws, protocol) {
  switch (`${type} ${target}`) {
    case `${MessageType.Invocation} Add`:
      return send({ type: MessageType.Completion, invocationId, result: args[0] + args[1] });
    case `${MessageType.Invocation} Divide`:
      return send({ type: MessageType.Completion, invocationId, error: "division by zero" });
    case `${MessageType.Invocation} Say`:
      return send({ type: MessageType.Invocation, target: "Said", arguments: [...args, { at: 1.5, tags: ["a", null, true] }] });
    case `${MessageType.Invocation} Ask`:
      return send({ type: MessageType.Invocation, invocationId: "s-1", target: "Question", arguments: ["six times seven?"] });
    case `${MessageType.StreamInvocation} Count`: {
      // Two records in one message, as a server under load writes them.
      const items = [0, 1, 2].map((item) => protocol.writeMessage({ type: MessageType.StreamItem, invocationId, item }));
      ws.send(typeof items[0] === "string" ? items.join("") : Buffer.concat(items.map((i) => Buffer.from(i))));
      return send({ type: MessageType.Completion, invocationId });
    }
    case `${MessageType.Invocation} Leave`:
      return send({ type: MessageType.Close, error: "the server goes home", allowReconnect: false });
  }
}

// talk is what a client says.
export async function talk(url, protocol) {
  const hub = new signalr.HubConnectionBuilder()
    .withUrl(`${url.replace("ws", "http")}/hub`, { transport: signalr.HttpTransportType.WebSockets, skipNegotiation: true })
    .withHubProtocol(protocol)
    .configureLogging(signalr.LogLevel.None)
    .build();
  hub.keepAliveIntervalInMilliseconds = 100;
  const closed = new Promise((done) => hub.onclose(done));
  const heard = (name, answer) => new Promise((done) => hub.on(name, (...args) => (done(args), answer)));
  await hub.start();
  await hub.invoke("Add", 2, 3);
  await hub.invoke("Divide", 1, 0).catch(() => {});
  const said = heard("Said");
  await hub.send("Say", "Grüße", 12);
  await said;
  const asked = heard("Question", 42);
  await hub.send("Ask");
  await asked;
  await new Promise((complete, error) => hub.stream("Count", 3).subscribe({ next() {}, complete, error }));
  const upload = new signalr.Subject();
  await hub.send("Upload", upload);
  upload.next("part");
  upload.complete();
  const forever = hub.stream("Forever").subscribe({ next() {}, complete() {}, error() {} });
  forever.dispose();
  await new Promise((done) => setTimeout(done, 250)); // for a ping
  await hub.send("Leave");
  await closed;
}

if (import.meta.filename === process.argv[1]) {
  const server = await listening();
  const parse = (data) => data.toString().split("\x1e").filter(Boolean).map((record) => JSON.parse(record));
  serve(server, new signalr.JsonHubProtocol(), parse);
  await capture("signalr-json", server.address().port, (url) => talk(url, new signalr.JsonHubProtocol()));
  process.exit(0);
}
