/// <reference path="../../script/wstape.d.ts" />

// Takes card numbers, e-mail addresses and tokens out of messages before they go
// on, in both directions: in text, in every string of JSON, and whatever a JSON
// field holds whose name says that it is a secret.
//
// If the script should fail, nothing must go on unread; so let it drop the message:
//
//   WSTAPE_SCRIPT_ON_ERROR=drop \
//     wstape proxy ws://localhost:8765 --script examples/scripts/redact.ts
//
// 100 KB of JSON take it some 60 ms. For longer messages raise script.timeout, for
// example with WSTAPE_SCRIPT_TIMEOUT=1s: a message that takes longer is dropped.
//
// This is about what the two ends get to see. The tape holds, of a message that
// was changed, what came in as well.
//
// What it does not do: binary messages go on as they are, unless they are JSON.
// Names of fields are left alone, and numbers too if their field has an innocent
// name: times and ids can look like cards. Where an object has the same name
// twice, JavaScript sees the last only, and so does this script.

const secretNames = /^(password|passwd|pwd|secret|client_?secret|authorization|cookie|cvv|cvc|pan|card_?number|([a-z]+_?)?(token|api_?key))$/i;

// What a secret looks like, what to write in its place, and something short that
// it cannot be without: looking for that first makes most messages cheap.
type Pattern = [without: string | RegExp, pattern: RegExp, by: string | ((found: string) => string)];

const patterns: Pattern[] = [
  ["@", /\b[\w.%+-]+@[a-z\d-]+(?:\.[a-z\d-]+)*\.[a-z]{2,}\b/gi, "[e-mail]"],
  ["eyJ", /\beyJ[\w-]+\.[\w-]+\.[\w-]*/g, "[token]"], // a JSON Web Token
  [/bearer|basic/i, /\b(Bearer|Basic)\s+[\w\-.~+/]{8,}=*/gi, "$1 [token]"],
  [/[spr]k[-_]|gh[a-z]_|_pat_|glpat-|xox/, /\b(sk|pk|rk|ghp|gho|ghs|github_pat|glpat|xox[abp])[-_][\w-]{16,}/g, "[token]"],
  [/\d{4}/, /\b[2-6]\d{3}(?:[ -]?\d){9,15}\b/g, (digits) => (isCard(digits) ? "[card]" : digits)],
];

export function onMessage(msg: wstape.Message) {
  const value = msg.json;
  if (typeof value === "object" && value !== null) {
    cleanTree(value);
  } else if (msg.text !== undefined) {
    const text = clean(msg.text);
    if (text !== msg.text) msg.text = text; // invalid UTF-8 stays what it is if there is nothing to hide
  }
}

// cleanTree changes values in place, so that the rest of the message keeps its
// bytes. It has a list of its own of what is to be done: JSON may be nested
// deeper than functions may call each other.
function cleanTree(root: object) {
  const todo: any[] = [root];
  for (let value = todo.pop(); value; value = todo.pop()) {
    for (const name of Object.keys(value)) {
      const member = value[name];
      if (secretNames.test(name) && member !== null && member !== "") {
        value[name] = "[secret]";
      } else if (typeof member === "string") {
        const text = clean(member);
        if (text !== member) value[name] = text;
      } else if (typeof member === "object" && member !== null) {
        todo.push(member);
      }
    }
  }
}

function clean(text: string): string {
  for (const [without, pattern, by] of patterns) {
    const possible = typeof without === "string" ? text.includes(without) : without.test(text);
    if (possible) text = text.replace(pattern, by as string);
  }
  return text;
}

// isCard checks the last digit of a card number (Luhn).
function isCard(text: string): boolean {
  const digits = text.replace(/\D/g, "");
  let sum = 0;
  for (let i = 0; i < digits.length; i++) {
    const digit = Number(digits[digits.length - 1 - i]) * (1 + (i % 2));
    sum += digit > 9 ? digit - 9 : digit;
  }
  return sum % 10 === 0;
}
