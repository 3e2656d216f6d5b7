// STOMP: receipts, acknowledgement by the client, a transaction, JSON, escapes,
// heartbeats, an error. The client is the library; the broker is a stand-in that
// writes and reads with the library's own frames.

import { Client, FrameImpl, Parser, Versions } from "@stomp/stompjs";
import WebSocket, { WebSocketServer } from "ws";
import { capture, listening } from "./shared.mjs";

const server = await listening();
new WebSocketServer({ server }).on("connection", (ws) => {
  const old = ws.protocol === "v11.stomp";
  const send = (command, headers, body = "") => {
    const frame = { command, headers, escapeHeaderValues: command !== "CONNECTED" };
    if (typeof body !== "string") Object.assign(frame, { binaryBody: body });
    else frame.body = body;
    ws.send(FrameImpl.marshall(frame));
  };
  const beat = setInterval(() => ws.send("\n"), 100);
  ws.on("close", () => clearInterval(beat));
  let subscription, count = 0;
  const parser = new Parser((raw) => {
    const { command, headers, binaryBody } = FrameImpl.fromRawFrame(raw, true);
    if (command === "CONNECT") return send("CONNECTED", { version: old ? "1.1" : "1.2", "heart-beat": "100,100", server: "stand-in/1.0" });
    if (headers.destination === "/nowhere") {
      send("ERROR", { message: "no such destination", "receipt-id": headers.receipt, "content-type": "text/plain" }, "There is no /nowhere here.\n");
      return ws.close();
    }
    if (command === "SUBSCRIBE") subscription = headers;
    if (command === "SEND" && !headers.transaction) {
      const { destination, receipt, ...rest } = headers;
      const id = `m-${++count}`;
      const ack = old ? {} : { ack: `a-${count}` };
      send("MESSAGE", { subscription: subscription.id, "message-id": id, ...ack, destination, ...rest }, binaryBody);
    }
    if (headers.receipt) send("RECEIPT", { "receipt-id": headers.receipt });
  }, () => {});
  ws.on("message", (data) => parser.parseChunk(new Uint8Array(data)));
});

function client(url, versions) {
  const stomp = new Client({
    webSocketFactory: () => new WebSocket(`${url}/ws`, versions.protocolVersions()),
    stompVersions: versions, connectHeaders: { login: "ann", host: "/" },
    heartbeatIncoming: 100, heartbeatOutgoing: 100, reconnectDelay: 0,
  });
  const connected = new Promise((done) => (stomp.onConnect = done));
  stomp.activate();
  return { stomp, connected };
}

async function play(url, versions, refused) {
  const { stomp, connected } = client(url, versions);
  await connected;
  const receipt = (id) => new Promise((done) => stomp.watchForReceipt(id, done));
  const heard = new Promise((done) => {
    stomp.subscribe("/topic/room", (message) => (message.ack({ receipt: "r-ack" }), done()), { ack: "client-individual", receipt: "r-sub" });
  });
  const sent = receipt("r-send");
  stomp.publish({
    destination: "/topic/room", body: JSON.stringify({ text: "Grüße", n: 1 }),
    headers: { "content-type": "application/json", receipt: "r-send", "x-note": refused ? "a:b" : "a:b\\c\nd" },
  });
  await sent;
  await heard;
  const transaction = stomp.begin("t1");
  stomp.publish({ destination: "/topic/room", body: "plain", headers: { transaction: transaction.id } });
  transaction.abort();
  stomp.publish({ destination: "/topic/blob", binaryBody: new Uint8Array([0, 1, 2, 255]), headers: { "content-type": "application/octet-stream" } });
  await new Promise((done) => setTimeout(done, 300)); // for heartbeats
  if (!refused) return stomp.deactivate();
  const closed = new Promise((done) => (stomp.onWebSocketClose = done));
  stomp.publish({ destination: "/nowhere", body: "?", headers: { receipt: "r-lost" } });
  await closed;
}

await capture("stomp", server.address().port,
  (url) => play(url, new Versions([Versions.V1_2])),
  (url) => play(url, new Versions([Versions.V1_1]), true));
process.exit(0);
