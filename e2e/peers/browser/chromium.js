"use strict";

// Starts Chromium as all programs here want it. The library is installed beside
// the Node peers.

const path = require("node:path");
const { createRequire } = require("node:module");

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

module.exports = { chromium, args };
