"use strict";

// Opens the page in Chromium and has it converse. Takes one JSON line on stdin,
// {browser, url, messages, code, reason}, and prints one with what the page saw.

const path = require("node:path");
const readline = require("node:readline");
const { createRequire } = require("node:module");

// The library is installed beside the Node peers.
const { chromium } = createRequire(path.join(__dirname, "..", "node", "package.json"))("playwright-core");

const args = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

async function run(order) {
  const browser = await chromium.launch({ executablePath: order.browser, args });
  try {
    // The tests' certificate authority is unknown to the browser.
    const page = await browser.newPage({ ignoreHTTPSErrors: true });
    await page.goto(order.url);
    return await page.evaluate(({ messages, code, reason }) => converse(messages, code, reason), order);
  } finally {
    await browser.close();
  }
}

readline.createInterface({ input: process.stdin }).once("line", async (line) => {
  try {
    console.log(JSON.stringify(await run(JSON.parse(line))));
    process.exit(0);
  } catch (err) {
    console.error(err);
    process.exit(1);
  }
});
