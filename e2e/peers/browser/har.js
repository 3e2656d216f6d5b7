"use strict";

// Makes HAR files with Chromium and reads them. Takes one JSON line on stdin and
// prints one. With {browser, by, har, url, messages, code, reason} the page at url
// converses, and is recorded to the file har: by "embed" or "attach", Playwright's
// recordHar, or by "devtools", the frontend that this browser brings along. With
// {browser, open, dir}, that frontend reads the file open; it prints the messages.

const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");

const { chromium, args } = require("./chromium.js");

const talk = (page, order) => page.evaluate(({ messages, code, reason }) => converse(messages, code, reason), order);

async function playwright(order) {
  const browser = await chromium.launch({ executablePath: order.browser, args });
  try {
    const context = await browser.newContext({ recordHar: { path: order.har, content: order.by } });
    const page = await context.newPage();
    await page.goto(order.url);
    const saw = await talk(page, order);
    await context.close(); // writes the file
    return saw;
  } finally {
    await browser.close();
  }
}

// frontend calls f with a context and with what opens DevTools, on a target or on none.
async function frontend(order, f) {
  const context = await chromium.launchPersistentContext(order.dir, {
    executablePath: order.browser,
    args: [...args, "--remote-debugging-port=0", "--remote-allow-origins=*"],
  });
  try {
    const [port] = fs.readFileSync(path.join(order.dir, "DevToolsActivePort"), "utf8").split("\n");
    return await f(context, async (target) => {
      const tools = await context.newPage();
      await tools.goto(`http://127.0.0.1:${port}/devtools/inspector.html` + (target ? `?ws=127.0.0.1:${port}/devtools/page/${target}` : ""));
      return tools;
    });
  } finally {
    await context.close();
  }
}

const devtools = (order) =>
  frontend(order, async (context, open) => {
    const page = await context.newPage();
    await page.goto(order.url);
    const session = await context.newCDPSession(page);
    const { targetInfo } = await session.send("Target.getTargetInfo");
    const tools = await open(targetInfo.targetId);
    const count = (what) =>
      tools.evaluate(async (what) => {
        const { NetworkLog } = await import("/devtools/models/logs/logs.js");
        return NetworkLog.NetworkLog.instance().requests().filter((r) => r.finished && r.url().includes(what)).length;
      }, what);
    while (!(await count("?are-you-there"))) await page.evaluate(() => fetch("/?are-you-there").then((r) => r.text()));
    const saw = await talk(page, order);
    while (!(await count("/socket"))) await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 10)));
    const log = await tools.evaluate(async () => {
      const { NetworkLog } = await import("/devtools/models/logs/logs.js");
      const { Log } = await import("/devtools/models/har/har.js");
      return JSON.stringify(await Log.Log.build(NetworkLog.NetworkLog.instance().requests(), { sanitize: false }));
    });
    fs.writeFileSync(order.har, `{"log":${log}}`);
    return saw;
  });

const read = (order) =>
  frontend(order, async (context, open) => {
    const tools = await open();
    return tools.evaluate(async (text) => {
      const { HARFormat, Importer } = await import("/devtools/models/har/har.js");
      const requests = Importer.Importer.requestsFromHARLog(new HARFormat.HARRoot(JSON.parse(text)).log);
      return requests.map((r) => ({
        url: r.url(),
        type: r.resourceType().name(),
        status: r.statusCode,
        messages: r.frames().map((f) => ({ type: f.type, time: f.time, opcode: f.opCode, data: f.text, mask: f.mask })),
      }));
    }, fs.readFileSync(order.open, "utf8"));
  });

readline.createInterface({ input: process.stdin }).once("line", async (line) => {
  try {
    const order = JSON.parse(line);
    const run = order.open ? read : order.by === "devtools" ? devtools : playwright;
    console.log(JSON.stringify(await run(order)));
    process.exit(0);
  } catch (err) {
    console.error(err);
    process.exit(1);
  }
});
