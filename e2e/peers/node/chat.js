"use strict";

// An end on ws that says its part of a plan without waiting for answers, while
// it listens. The plan is a JSON file: for client and for server what to send, a
// message in several pieces as so many frames, and how many messages to hear.
//
// chat.js serve ORDER: prints "listening PORT", then a report for each
// connection that has ended. chat.js: takes an order a line and answers each
// with a report.

const crypto = require("node:crypto");
const fs = require("node:fs");
const http = require("node:http");
const readline = require("node:readline");
const WebSocket = require("ws");
const deflate = require("./deflate");

const utter = (ws, data, options) => new Promise((resolve, reject) => ws.send(data, options, (err) => (err ? reject(err) : resolve())));

async function say(ws, words) {
  for (const w of words) {
    const data = Buffer.from(w.b64 || "", "base64");
    if (w.op === "ping") {
      ws.ping(data);
      continue;
    }
    const pieces = w.pieces || 1;
    const size = Math.ceil(data.length / pieces);
    for (let i = 0; i < pieces; i++) {
      const last = i === pieces - 1;
      const piece = data.subarray(i * size, last ? data.length : (i + 1) * size);
      await utter(ws, piece, { binary: w.op === "binary", fin: last });
    }
  }
}

function chat(ws, role, plan, report) {
  const part = plan[role];
  Object.assign(report, { heard: [], pongs: [] });
  let said = false;
  const finished = () => {
    if (!said || report.heard.length !== part.hear) return;
    if (role === "server") ws.send("bye");
    else ws.close(1000, "done");
  };
  ws.on("message", (data, binary) => {
    const sum = crypto.createHash("sha256").update(data).digest("hex");
    report.heard.push({ op: binary ? "binary" : "text", len: data.length, sum, head: data.subarray(0, 40).toString("base64") });
    finished();
  });
  ws.on("pong", (data) => report.pongs.push(data.toString()));
  ws.on("error", (err) => (report.error = err.message));
  const begin = async () => {
    report.protocol = ws.protocol;
    report.extensions = ws.extensions;
    await say(ws, part.send).catch((err) => (report.error = err.message));
    said = true;
    finished();
  };
  if (ws.readyState === WebSocket.OPEN) begin();
  else ws.on("open", begin);
  return new Promise((resolve) => ws.on("close", (code, reason) => resolve(Object.assign(report, { code, reason: reason.toString() }))));
}

const read = (order) => JSON.parse(fs.readFileSync(order.plan));

function call(order) {
  const ws = new WebSocket(order.url, order.protocols || [], {
    perMessageDeflate: deflate(order.deflate),
    ca: order.ca ? fs.readFileSync(order.ca) : undefined,
  });
  const report = {};
  const refused = new Promise((resolve) => {
    ws.on("unexpected-response", (req, res) => {
      let body = "";
      res.on("data", (data) => (body += data));
      res.on("end", () => resolve({ error: "unexpected-response", status: res.statusCode, body }));
    });
  });
  return Promise.race([refused, chat(ws, "client", read(order), report)]);
}

function serve(order) {
  const server = http.createServer();
  const sockets = new WebSocket.Server({ server, perMessageDeflate: { threshold: 0 } });
  sockets.on("connection", async (ws, req) => {
    console.log(JSON.stringify(await chat(ws, "server", read(order), { url: req.url, headers: req.headers })));
  });
  server.listen(0, "127.0.0.1", () => console.log("listening", server.address().port));
}

if (process.argv[2] === "serve") {
  serve(JSON.parse(process.argv[3]));
} else {
  (async () => {
    for await (const line of readline.createInterface({ input: process.stdin })) {
      console.log(JSON.stringify(await call(JSON.parse(line))));
    }
    process.exit(0);
  })();
}
