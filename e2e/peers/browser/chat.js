"use strict";

// Does in Chromium what ../node/chat.js does as a client. Takes an order a line;
// WSTAPE_CHROMIUM's path is the first argument.

const crypto = require("node:crypto");
const fs = require("node:fs");
const readline = require("node:readline");

const { chromium, args } = require("./chromium.js");

// converse runs in the page.
function converse({ url, protocols, part }) {
  const bytes = (b64) => Uint8Array.from(atob(b64), (c) => c.charCodeAt(0));
  const base64 = (b) => {
    let s = "";
    for (let i = 0; i < b.length; i += 8192) s += String.fromCharCode(...b.subarray(i, i + 8192));
    return btoa(s);
  };
  const ws = new WebSocket(url, protocols || []);
  ws.binaryType = "arraybuffer";
  const report = { heard: [], pongs: [], error: "" };
  return new Promise((resolve) => {
    ws.onmessage = ({ data }) => {
      const text = typeof data === "string";
      report.heard.push({ op: text ? "text" : "binary", b64: base64(text ? new TextEncoder().encode(data) : new Uint8Array(data)) });
      if (report.heard.length === part.hear) ws.close(1000, "done");
    };
    ws.onopen = () => {
      report.protocol = ws.protocol;
      report.extensions = ws.extensions;
      for (const w of part.send) {
        if (w.op === "ping") continue; // a page cannot
        const data = bytes(w.b64 || "");
        ws.send(w.op === "text" ? new TextDecoder().decode(data) : data);
      }
    };
    ws.onerror = () => (report.error = "the browser reports an error");
    ws.onclose = ({ code, reason, wasClean }) => resolve({ ...report, code, reason, error: report.error || (wasClean ? "" : "not clean") });
  });
}

async function call(page, order) {
  const part = JSON.parse(fs.readFileSync(order.plan)).client;
  const report = await page.evaluate(converse, { url: order.url, protocols: order.protocols, part });
  for (const m of report.heard) {
    const data = Buffer.from(m.b64, "base64");
    delete m.b64;
    Object.assign(m, { len: data.length, sum: crypto.createHash("sha256").update(data).digest("hex"), head: data.subarray(0, 40).toString("base64") });
  }
  return report;
}

(async () => {
  const browser = await chromium.launch({ executablePath: process.argv[2], args });
  const page = await browser.newPage({ ignoreHTTPSErrors: true });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await call(page, JSON.parse(line))));
  }
  await browser.close();
  process.exit(0);
})();
