// CBOR, with cbor-x.

import { Encoder, Tag, decode, encode } from "cbor-x";
import { echo } from "./echo.mjs";

const records = new Encoder({ useRecords: true });
const values = [
  { type: "join", room: "Grüße", id: 7 },
  { event: "move", at: new Date(1700000000123), x: 1.5, y: -2.25, tags: ["a", null, true, undefined] },
  [1, "two", { three: 3 }],
  { type: "ping" },
  { bytes: Buffer.from([0, 1, 254, 255]), big: 2n ** 63n, bigger: 2n ** 80n, less: -(2n ** 70n) },
  { own: new Tag([1, "b"], 4711) },
  new Map([[1, "one"], ["1", "text"], [true, "yes"]]),
  new Map([[[1, 2], "a list as a key"]]),
  new Set(["a", "b"]),
  /a+/i,
  new Float32Array([1, 2.5]),
  { text: "0123456789".repeat(40), list: Array.from({ length: 20 }, (_, i) => i * 1000) },
  "only a text",
  -70000,
  3.14,
  Infinity,
];
await echo(
  "cbor",
  (data) => encode({ heard: decode(data) }),
  [...values.map((v) => encode(v)), records.encode({ id: 1, name: "record" }), Buffer.from("9f0102820304ff", "hex")],
);
process.exit(0);
