"use strict";

// Opens the page in Chromium and has it converse. Takes one JSON line on stdin,
// {browser, url, messages, code, reason}, and prints one with what the page saw.

const readline = require("node:readline");

const { chromium, args } = require("./chromium.js");

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
