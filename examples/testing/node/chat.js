// A client of the chat room: the app under test.

import WebSocket from "ws";

/** Joins a room, hands each message to hear with a function to answer it, and
 *  leaves after the given number of messages. Resolves to their texts. */
export function chat(url, user, count, hear) {
  return new Promise((resolve, reject) => {
    const texts = [];
    const socket = new WebSocket(`${url}/chat?room=1&user=${user}`);
    const say = (text, replyTo) => socket.send(JSON.stringify({ type: "say", text, reply_to: replyTo }));
    socket.on("message", (data) => {
      const message = JSON.parse(data);
      hear(message, say);
      if (message.type === "message" && texts.push(message.text) === count) socket.close(1000);
    });
    socket.on("close", (code, reason) => {
      if (code === 1000) resolve(texts);
      else reject(new Error(`closed with ${code} ${reason}`));
    });
    socket.on("error", reject);
  });
}
