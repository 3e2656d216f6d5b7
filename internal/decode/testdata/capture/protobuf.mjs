// Protobuf, with protobufjs and ../chat.proto.

import path from "node:path";
import protobuf from "protobufjs";
import { echo } from "./echo.mjs";

const root = await new protobuf.Root().load(path.join(import.meta.dirname, "..", "chat.proto"), { keepCase: true });
const Envelope = root.lookupType("chat.v1.Envelope");
const write = (fields) => Envelope.encode(Envelope.fromObject(fields)).finish();
const at = { seconds: 1700000000, nanos: 123000000 };
const said = { text: "hello there", tone: "LOUD", counts: [1, -2, 300], blob: Buffer.from([0, 1, 254, 255]), weight: 1.5 };
const messages = [
  { id: 1, at, join: { room: "Grüße, all", limits: { users: 10, rate: -1 } } },
  { id: 2, said },
  { id: "18446744073709551615", at, said: { text: "two lines\nof text", quotes: [{ text: "quoted" }, { ...said, quotes: [{ text: "twice" }] }] } },
  { id: 4, ping: {} },
  {},
  { id: 5, said: { text: "0123456789".repeat(40) } },
];
await echo(
  "protobuf",
  (data) => write({ ...Envelope.toObject(Envelope.decode(data)), id: 9 }),
  messages.map(write),
);
process.exit(0);
