/// <reference path="./wstape.d.ts" />

// What this script does, in a sentence.
//
//   wstape script test NAME.js                            run its tests
//   wstape script run NAME.js --session -1                what would it have changed in a recorded session?
//   wstape proxy ws://localhost:8765 --script NAME.js     run it; saving this file reloads it
//
// The hooks that are not exported cost nothing. wstape.d.ts says what each can do.

// Look at what this side sends only; leave it out to see both.
/** @type {wstape.Side} */
export const from = "server";

/**
 * Each text or binary message.
 * @type {wstape.OnMessage}
 */
export function onMessage(msg, session) {
  if (msg.json?.type !== "greeting") return; // nothing returned: it goes on as it came

  msg.json.text = `${msg.json.text} (changed by a script)`; // these bytes change, all others stay
  session.note("changed a greeting"); // on the tape, and in the live log

  // return false;                        drops the message
  // return "hello";                      sends this text instead
  // return [msg, { type: "extra" }];     sends one more
}

// /** The client's handshake, before the upstream is dialled. */
// export function onRequest(req, session) {
//   req.headers.set("Authorization", `Bearer ${env.TOKEN}`); // script.env must name TOKEN
//   if (req.url.startsWith("/admin")) req.reject(403, "not here");
// }

// /** The connection is open. */
// export function onOpen(session) {
//   setTimeout(() => session.send("client", { type: "welcome" }), 1000);
// }
