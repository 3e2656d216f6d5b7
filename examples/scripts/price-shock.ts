/// <reference path="../../script/wstape.d.ts" />

// Lets the prices of a ticker crash by 30 % between the 10th and the 20th second
// of a session: do alerts, stop-losses and charts do what they should?
//
//   wstape proxy wss://stream.example.com --script examples/scripts/price-shock.ts
//
// To have it crash at another time (in wstape.yaml: `script: {env: [SHOCK_AFTER]}`):
//
//   SHOCK_AFTER=60 WSTAPE_SCRIPT_ENV=SHOCK_AFTER \
//     wstape proxy wss://stream.example.com --script examples/scripts/price-shock.ts
//
// Prices are numbers, or strings as many exchanges send them, in any of the
// fields below, wherever they are in a JSON message. Only their bytes change:
// ids above 2^53, spellings like 1.50 and white space stay as they came.

const fields = new Set(["price", "bid", "ask", "last", "open", "high", "low", "close"]);
const begin = Number(env.SHOCK_AFTER ?? 10); // seconds since the session began
const end = begin + 10;
const factor = 0.7;

export const from = "server";

export function onMessage(msg: wstape.Message) {
  if (msg.t < begin || msg.t >= end) return;
  const root = msg.json;
  if (typeof root !== "object" || root === null) return; // not JSON, or no more than a number
  const todo: any[] = [root];
  for (let value = todo.pop(); value; value = todo.pop()) {
    for (const name of Object.keys(value)) {
      const member = value[name];
      if (typeof member === "object" && member !== null) {
        todo.push(member);
      } else if (fields.has(name)) {
        value[name] = shocked(member);
      }
    }
  }
}

// shocked returns a price after the shock, with as many decimals as it had; what
// is no price comes back as it is, and then its bytes stay too.
function shocked(price: unknown): unknown {
  const text = String(price);
  if (!/^-?\d+(\.\d+)?$/.test(text)) return price;
  const decimals = text.split(".")[1]?.length ?? 0;
  if (typeof price === "string") return (Number(price) * factor).toFixed(decimals);
  if (typeof price === "number") return Number((price * factor).toFixed(Math.max(decimals, 2)));
  return price;
}
