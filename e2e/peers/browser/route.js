"use strict";

// Routes a page's socket to a module that `wstape export --format playwright` wrote,
// and has the page talk. The first argument is the browser. Takes JSON lines on stdin,
// {module, pace, url, says, close}, and answers each with what the page saw and what the
// module says.

const readline = require("node:readline");
const { pathToFileURL } = require("node:url");

const { chromium, args } = require("./chromium.js");

// Runs in the page. Each thing is said when so many messages have been heard.
async function talk({ url, says, close }) {
  const ws = new WebSocket(url);
  ws.binaryType = "arraybuffer";
  const base64 = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)));
  const bytes = (b64) => Uint8Array.from(atob(b64), (c) => c.charCodeAt(0));
  const heard = [];
  let said = 0;
  const speak = () => {
    for (; said < says.length && says[said].after <= heard.length; said++) {
      ws.send("text" in says[said] ? says[said].text : bytes(says[said].b64));
    }
    if (close && said === says.length && close.after <= heard.length) ws.close(close.code, close.reason);
  };
  ws.addEventListener("open", speak);
  ws.addEventListener("message", ({ data }) => {
    heard.push(typeof data === "string" ? { text: data } : { b64: base64(data) });
    speak();
  });
  const end = await new Promise((resolve) => ws.addEventListener("close", resolve));
  return { heard, code: end.code, reason: end.reason, clean: end.wasClean };
}

async function run(browser, order) {
  const { routeRecording } = await import(pathToFileURL(order.module));
  const page = await browser.newPage();
  try {
    const server = await routeRecording(page, { pace: order.pace });
    const saw = await page.evaluate(talk, order);
    const problem = await server.done().then(
      () => "",
      (err) => err.message,
    );
    return { ...saw, problem };
  } finally {
    await page.close();
  }
}

async function main() {
  const browser = await chromium.launch({ executablePath: process.argv[2], args });
  try {
    for await (const line of readline.createInterface({ input: process.stdin })) {
      console.log(JSON.stringify(await run(browser, JSON.parse(line))));
    }
  } finally {
    await browser.close();
  }
}

main().then(
  () => process.exit(0),
  (err) => {
    console.error(err);
    process.exit(1);
  },
);
