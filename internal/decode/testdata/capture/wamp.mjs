// WAMP: autobahn against fox-wamp's router. Calls, an error, events, an
// acknowledged publication.

import autobahn from "autobahn";
import Router from "fox-wamp";
import WebSocket from "ws";
import { capture, listening } from "./shared.mjs";

globalThis.WebSocket = WebSocket; // what autobahn looks for

const server = await listening();
const router = new Router();
router.listenWAMP({ server, path: "/ws" });

await capture("wamp", server.address().port, async (url) => {
  const connection = new autobahn.Connection({ url: `${url}/ws`, realm: "realm1", max_retries: 0, protocols: ["wamp.2.json"] });
  const closed = new Promise((done) => (connection.onclose = done));
  const session = await new Promise((done) => ((connection.onopen = done), connection.open()));
  const procedure = await session.register("com.example.add", ([a, b], { scale = 1 }) => (a + b) * scale);
  await session.call("com.example.add", [2, 3], { scale: 10 });
  await session.call("com.example.nothing").catch(() => {});
  const heard = new Promise((done) => (session.heard = done));
  const subscription = await session.subscribe("com.example.news", (args) => session.heard(args));
  await session.publish("com.example.news", ["Grüße", { n: 1 }], {}, { acknowledge: true, exclude_me: false });
  await heard;
  session.publish("com.example.news", [], { silent: true });
  await subscription.unsubscribe();
  await procedure.unregister();
  connection.close("wamp.close.normal", "good bye");
  await closed;
});
process.exit(0);
