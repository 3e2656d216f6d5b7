// Translates what the client says, word by word, with the dictionary in
// translate.words.json: to see an app with texts of another length or alphabet.
//
// Run it in front of a chat server:
//
//   wstape proxy ws://localhost:8765/chat --script examples/scripts/translate.js
//
// Plain text is translated as a whole, a JSON object in its field "text" only.
// What a script imports is bundled and watched: edit the dictionary while a
// session is open, and the next message is translated with it.

import dictionary from "./translate.words.json";

export const from = "client";

const words = new Map(Object.entries(dictionary)); // a Map, as "constructor" is a word too

export function onMessage(msg) {
  if (msg.op !== "text" || !msg.utf8) return;
  const said = msg.json;
  if (typeof said !== "object") {
    msg.text = translate(msg.text); // not JSON, or no more than a string or number
  } else if (typeof said?.text === "string") {
    said.text = translate(said.text); // changes these bytes of the message and no others
  }
}

// Letters of words in Latin script. (The engine has no \p{Letter}.)
const word = /[A-Za-z\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u024F]+/g;

function translate(text) {
  return text.replace(word, (found) => {
    const translated = words.get(found.toLowerCase());
    return translated === undefined ? found : likeIn(found, translated);
  });
}

// likeIn writes a translation with the capitals of the word that it stands for.
function likeIn(found, translated) {
  if (found.length > 1 && found === found.toUpperCase()) return translated.toUpperCase();
  if (found[0] !== found[0].toLowerCase()) return translated[0].toUpperCase() + translated.slice(1);
  return translated;
}
