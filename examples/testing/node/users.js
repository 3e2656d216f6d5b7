// The two who talk on the cassette.

import { fileURLToPath } from "node:url";

export const cassette = fileURLToPath(new URL("../../cassettes/chat.cassette.jsonl", import.meta.url));

export const alice = (message, say) => {
  if (message.type === "joined" && message.members.length === 2) say("Hello bob, are you there?");
  if (message.user === "bob" && message.type === "message") say("Good. Until tomorrow.");
};

export const bob = (answer) => (message, say) => {
  if (message.text === "Hello bob, are you there?") say(answer, message.id);
};
