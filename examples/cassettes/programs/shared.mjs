// What the Node programs share.

import { on } from "node:events";
import { parseArgs } from "node:util";

const patience = 20_000; // milliseconds until a client gives up

// listen serves where --port says, on a free port by default, and prints
// "listening PORT".
export function listen(server) {
  const { values } = parseArgs({ options: { port: { type: "string", default: "0" } } });
  server.listen(Number(values.port), "127.0.0.1", () => console.log("listening", server.address().port));
}

// target is where a client connects to: its argument is ws://HOST:PORT.
export function target(path) {
  setTimeout(() => {
    console.error(`gave up after ${patience} ms`);
    process.exit(1);
  }, patience).unref();
  return new URL(path, process.argv[2]).href;
}

// hearing gives a function that waits for the next message and prints it.
export function hearing(ws) {
  const messages = on(ws, "message", { close: ["close"] });
  return async () => {
    const { value, done } = await messages.next();
    if (done) throw new Error("the connection has ended instead of an answer");
    console.log(value[0].toString());
    return JSON.parse(value[0]);
  };
}
