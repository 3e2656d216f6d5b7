// A JSON-RPC 2.0 server on ws: sums, the time, and a heartbeat to subscribe to.

import { randomInt } from "node:crypto";
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocketServer } from "ws";
import { listen } from "./shared.mjs";

const METHOD_NOT_FOUND = -32601;
const INVALID_PARAMS = -32602;

class Failure extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const methods = {
  add: (peer, [a, b]) => a + b,
  time: () => {
    const now = new Date();
    return { epoch_ms: now.getTime(), rfc3339: now.toISOString() };
  },
  // subscribe promises so many beats; they come after its result.
  subscribe: (peer, { count }) => {
    const handle = `sub-${randomInt(100_000, 1_000_000)}`;
    peer.handles.add(handle);
    beat(peer, handle, count);
    return { handle, since: new Date().toISOString() };
  },
  unsubscribe: (peer, { handle }) => {
    if (!peer.handles.delete(handle)) throw new Failure(INVALID_PARAMS, `no subscription ${handle}`);
    return { ended: handle };
  },
};

async function beat(peer, handle, count) {
  for (let n = 1; n <= count; n++) {
    await sleep(50);
    if (!peer.handles.has(handle)) return;
    peer.send({ method: "beat", params: { handle, n, at: Date.now() } });
  }
}

function call(peer, { id, method, params }) {
  try {
    if (!Object.hasOwn(methods, method)) throw new Failure(METHOD_NOT_FOUND, `no method ${method}`);
    peer.send({ id, result: methods[method](peer, params) });
  } catch (problem) {
    peer.send({ id, error: { code: problem.code ?? INVALID_PARAMS, message: problem.message } });
  }
}

const server = http.createServer();
new WebSocketServer({ server }).on("connection", (ws) => {
  const peer = {
    handles: new Set(),
    send: (fields) => ws.send(JSON.stringify({ jsonrpc: "2.0", ...fields })),
  };
  ws.on("error", () => {}); // what a peer does wrong ends its connection only
  ws.on("message", (data) => call(peer, JSON.parse(data)));
  ws.on("close", () => peer.handles.clear());
});
listen(server);
