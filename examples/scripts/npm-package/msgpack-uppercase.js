// Upper-cases the field "text" of MessagePack messages from the server, with a
// package from npm: what a script imports is bundled from node_modules when it is
// loaded, and wstape needs neither Node nor npm to run it.
//
//   (cd examples/scripts/npm-package && npm install)
//   wstape proxy ws://localhost:8765 --script examples/scripts/npm-package/msgpack-uppercase.js
//
// Unlike msg.json, a package makes a new message of the values that it has read.
// The values are the same, the bytes need not be: a float of 32 bits becomes one
// of 64. So only what has to change is written anew.

import { decode, encode } from "@msgpack/msgpack";

const options = { useBigInt64: true }; // else integers above 2^53 lose their last digits

export const from = "server";

export function onMessage(msg) {
  if (msg.op !== "binary") return;
  let value;
  try {
    value = decode(msg.bytes, options);
  } catch {
    return; // not MessagePack
  }
  if (typeof value?.text !== "string") return;
  const text = value.text.toUpperCase();
  if (text === value.text) return;
  msg.bytes = encode({ ...value, text }, options);
}
