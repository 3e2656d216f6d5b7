// JSON-RPC 2.0 by jayson: results, errors, notifications, batches.

import jayson from "jayson";
import WebSocket from "ws";
import { capture, listening } from "./shared.mjs";

const rpc = new jayson.Server({
  add: ([a, b], done) => done(null, a + b),
  divide: ([a, b], done) => (b ? done(null, a / b) : done({ code: 1, message: "division by zero", data: { a } })),
  log: (_, done) => done(null, null),
});
const server = await listening();
rpc.websocket({ server });

await capture("jsonrpc", server.address().port, async (url) => {
  const ws = new WebSocket(`${url}/rpc`);
  await new Promise((done) => ws.once("open", done));
  let count = 0;
  const client = jayson.Client.websocket({ ws, generator: () => (++count % 2 ? count : `id-${count}`) });
  const answer = (f) => new Promise((done) => f((...args) => done(args)));
  await answer((done) => client.request("add", [2, 3], done));
  await answer((done) => client.request("divide", [1, 0], done));
  await answer((done) => client.request("nothing", { a: null }, done));
  client.request("log", ["Grüße"], null, () => {});
  await answer((done) => client.request([
    client.request("add", [1, 1], undefined, false), client.request("log", [1], null, false), client.request("divide", [4, 2], undefined, false),
  ], done));
  ws.send("{\"jsonrpc\": \"2.0\", \"method\": \"foobar, \"params\": \"bar\", \"baz]"); // as in the specification
  await new Promise((done) => ws.once("message", done));
  ws.close();
  await new Promise((done) => ws.once("close", done));
});
process.exit(0);
