// The page in Chromium, served over HTTP as it will be.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

export const cassette = fileURLToPath(new URL("../../cassettes/ticker.cassette.jsonl", import.meta.url));

/** Opens the page with the WebSocket server that it is to talk to. */
export async function withPage(server, use) {
  const html = await readFile(new URL("prices.html", import.meta.url));
  const web = createServer((_, response) => response.setHeader("Content-Type", "text/html").end(html)).listen(0, "127.0.0.1");
  await once(web, "listening");
  const executablePath = process.env.WSTAPE_CHROMIUM ?? "/usr/bin/chromium";
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${web.address().port}/?server=${server}`);
    await use(page);
  } finally {
    await browser.close();
    web.close();
    web.closeAllConnections();
  }
}
