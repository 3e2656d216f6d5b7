"use strict";

// A client on ws that does what JSON lines on stdin say. Each command is
// answered with one JSON line on stdout.

const fs = require("node:fs");
const readline = require("node:readline");
const WebSocket = require("ws");
const deflate = require("./deflate");

let ws; // the connection
let inbox; // what has come, and who waits for it
let closing; // how it ended, a promise

// mailbox hands things over in order, whichever side comes first.
function mailbox() {
  const things = [];
  const waiting = [];
  return {
    put: (thing) => (waiting.length ? waiting.shift()(thing) : things.push(thing)),
    take: () => new Promise((resolve) => (things.length ? resolve(things.shift()) : waiting.push(resolve))),
  };
}

const commands = {
  connect: (c) =>
    new Promise((resolve) => {
      inbox = mailbox();
      ws = new WebSocket(c.url, {
        perMessageDeflate: deflate(c.deflate),
        ca: c.ca ? fs.readFileSync(c.ca) : undefined,
      });
      closing = new Promise((ended) => {
        ws.on("close", (code, reason) => {
          const how = { code, reason: reason.toString() };
          inbox.put({ error: "closed", ...how });
          ended(how);
        });
      });
      ws.on("message", (data, binary) => inbox.put(binary ? { b64: data.toString("base64") } : { text: data.toString() }));
      ws.on("open", () => resolve({ extensions: ws.extensions }));
      ws.on("unexpected-response", (req, res) => {
        resolve({ error: "unexpected-response", status: res.statusCode });
        req.destroy();
      });
      ws.on("error", (err) => resolve({ error: err.message }));
    }),
  send: (c) =>
    new Promise((resolve, reject) => {
      ws.send("text" in c ? c.text : Buffer.from(c.b64, "base64"), (err) => (err ? reject(err) : resolve({})));
    }),
  recv: () => inbox.take(),
  ping: (c) =>
    new Promise((resolve) => {
      ws.once("pong", (data) => resolve({ text: data.toString() }));
      ws.ping(c.text);
    }),
  close: (c) => {
    if (c.code) ws.close(c.code, c.reason || "");
    else ws.close();
    return closing;
  },
  closed: () => closing,
};

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    console.log(JSON.stringify(await commands[command.do](command)));
  }
  process.exit(0);
})();
