// What the programs of the plain formats share: a server that gives each message
// back, written anew, and a client that says some.

import { once } from "node:events";
import { WebSocket, WebSocketServer } from "ws";
import { capture, listening } from "./shared.mjs";

export async function echo(name, again, messages) {
  const server = await listening();
  new WebSocketServer({ server }).on("connection", (ws) => ws.on("message", (data) => ws.send(again(data))));
  await capture(name, server.address().port, async (url) => {
    const ws = new WebSocket(url);
    await once(ws, "open");
    for (const message of messages) {
      ws.send(message);
      await once(ws, "message");
    }
    ws.close();
    await once(ws, "close");
  });
}
