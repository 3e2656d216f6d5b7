// Answers some JSON-RPC requests itself, so that the server never sees them: for
// an endpoint that is not built yet, or for an answer that is hard to get.
//
//   wstape proxy ws://localhost:8765 --script examples/scripts/mock-reply.js
//
// A request like {"jsonrpc": "2.0", "id": 7, "method": "user.get", "params": {"id": 3}}
// is dropped, and {"jsonrpc": "2.0", "id": 7, "result": {…}} goes to the client.
// On the tape the one is marked dropped and the other injected.

export const from = "client";

// What is answered, and with what. Params are what the client sent: anything.
const replies = new Map([
  ["user.get", (params) => ({ id: params?.id ?? null, name: "Alice Example" })],
  ["feature.list", () => ["dark-mode", "beta"]],
]);

export function onMessage(msg, session) {
  const call = msg.op === "text" ? msg.json : undefined;
  if (typeof call !== "object" || call === null) return;
  const reply = replies.get(call.method);
  if (!reply || call.id === undefined) return; // without an id nobody waits for an answer

  // The reply is made of the request: what is not assigned to keeps its bytes, so
  // an id comes back exactly as it was sent, even a number above 2^53.
  call.result = reply(call.params);
  delete call.method;
  delete call.params;
  session.send("client", msg.text);
  return false;
}
