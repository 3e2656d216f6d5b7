/// <reference path="../../script/wstape.d.ts" />

// Moderates a chat: a client's message with a bad word does not reach the server,
// the client gets a warning instead, and after three of them it is muted for half
// a minute.
//
//   wstape proxy ws://localhost:8765/chat --script examples/scripts/chat-moderator.ts
//
// It reads plain text, and JSON objects with the words in the field "text". The
// tape shows what was dropped and the warning, and `wstape ls` the tag "strikes".

const badWords = /\b(blast|darn|drat|heck)(ed|ing|s)?\b/i;
const mostStrikes = 3;
const muteSeconds = 30;

// What is remembered of a session. It is in session.state and not in variables,
// so that nobody is forgiven when this file is saved.
interface Memory {
  strikes?: number;
  mutedUntil?: number; // seconds since the session began, as msg.t
}

export const from = "client";

export function onMessage(msg: wstape.Message, session: wstape.Session) {
  const words = wordsOf(msg);
  if (words === undefined) return;
  const memory = session.state as Memory;

  const left = (memory.mutedUntil ?? 0) - msg.t;
  if (left > 0) {
    warn(msg, session, `You are muted for another ${Math.ceil(left)} s.`);
    return false;
  }
  const bad = badWords.exec(words);
  if (!bad) return;

  memory.strikes = (memory.strikes ?? 0) + 1;
  session.tag("strikes", String(memory.strikes));
  session.note(`strike ${memory.strikes}: "${bad[0]}"`);
  if (memory.strikes % mostStrikes === 0) {
    memory.mutedUntil = msg.t + muteSeconds;
    warn(msg, session, `That is enough. You are muted for ${muteSeconds} s.`);
  } else {
    warn(msg, session, `Please do not say "${bad[0]}" here.`);
  }
  return false;
}

// wordsOf returns what somebody says with a message; undefined if it says nothing.
function wordsOf(msg: wstape.Message): string | undefined {
  if (msg.op !== "text") return undefined;
  if (typeof msg.json !== "object") return msg.text;
  return typeof msg.json?.text === "string" ? msg.json.text : undefined;
}

// warn talks to the client in the way that it talks itself.
function warn(msg: wstape.Message, session: wstape.Session, text: string) {
  session.send("client", typeof msg.json === "object" ? { type: "say", from: "moderator", text } : text);
}
