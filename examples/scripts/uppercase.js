// Upper-cases what the server answers: the classic first change to an echo server.
//
// Run it in front of any server that talks text:
//
//   wstape proxy ws://localhost:8765 --script examples/scripts/uppercase.js
//
// A client that sends "hello" to an echo server gets "HELLO" back. Save this file
// with another change in it, and open connections have it with the next message.

export const from = "server"; // look at the server's messages only

export function onMessage(msg) {
  if (msg.op !== "text" || !msg.utf8) return; // binary, or no valid text: goes on as it is
  msg.text = msg.text.toUpperCase();
}
