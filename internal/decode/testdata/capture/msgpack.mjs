// MessagePack, with @msgpack/msgpack.

import { ExtData, decode, encode } from "@msgpack/msgpack";
import { echo } from "./echo.mjs";

const nested = (n) => (n ? { in: nested(n - 1) } : "deep");
const values = [
  { type: "join", room: "Grüße", id: 7 },
  { event: "move", at: new Date(1700000000123), x: 1.5, y: -2.25, tags: ["a", null, true] },
  [1, "two", { three: 3 }],
  { type: "ping" },
  { bytes: new Uint8Array([0, 1, 254, 255]), big: 2n ** 63n, less: -(2n ** 40n), none: null },
  { own: new ExtData(5, new Uint8Array([1, 2, 3])) },
  { text: "0123456789".repeat(40), list: Array.from({ length: 20 }, (_, i) => i * 1000) },
  nested(20),
  "only a text",
  -70000,
  3.14,
  Infinity,
];
const options = { useBigInt64: true };
await echo(
  "msgpack",
  (data) => encode({ heard: decode(data, options) }, options),
  values.map((v) => encode(v, options)),
);
process.exit(0);
