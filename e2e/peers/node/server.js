"use strict";

// An echo server on ws, and a page beside it. Options are a JSON object in the
// first argument. Prints "listening PORT", then one JSON line for each
// connection that has ended.

const fs = require("node:fs");
const http = require("node:http");
const { WebSocketServer } = require("ws");
const deflate = require("./deflate");

const options = JSON.parse(process.argv[2] || "{}");

const actions = {
  // /close?code=N&reason=R: close after the first message.
  "/close": (ws, query) => {
    const code = Number(query.get("code"));
    ws.once("message", () => (code ? ws.close(code, query.get("reason") || "") : ws.close()));
  },
  // /ping: ping the client for each message, answer when its pong has come.
  "/ping": (ws) => {
    ws.on("message", (data) => ws.ping(data));
    ws.on("pong", (data) => ws.send("ponged " + data));
  },
};

const echo = (ws) => ws.on("message", (data, binary) => ws.send(data, { binary }));

const server = http.createServer((req, res) => {
  if (req.url !== "/" || !options.page) {
    res.writeHead(404).end();
    return;
  }
  res.writeHead(200, { "Content-Type": "text/html; charset=utf-8" });
  fs.createReadStream(options.page).pipe(res);
});

const sockets = new WebSocketServer({ server, perMessageDeflate: deflate(options.deflate) });
sockets.on("connection", (ws, req) => {
  const url = new URL(req.url, "http://peer");
  ws.on("error", () => {}); // the close event that follows tells
  ws.on("close", (code, reason) => console.log(JSON.stringify({ event: "close", code, reason: reason.toString() })));
  (actions[url.pathname] || echo)(ws, url.searchParams);
});

server.listen(0, "127.0.0.1", () => console.log("listening", server.address().port));
