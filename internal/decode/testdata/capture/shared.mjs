// What the capture programs share: a wstape proxy between a library's server and
// its client, and the cassette of what they said.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const wstape = process.env.WSTAPE ?? "wstape";

// until waits for a condition.
export async function until(holds, what) {
  for (let i = 0; i < 1000; i++) {
    const value = await holds();
    if (value) return value;
    await sleep(20);
  }
  throw new Error(`waited in vain for ${what}`);
}

// listening starts an HTTP server on a free port.
export async function listening(server = http.createServer()) {
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return server;
}

// capture records what each of the clients, one after another, says through a
// proxy to the server at a port, and writes ../NAME.cassette.jsonl.
export async function capture(name, port, ...clients) {
  const dir = mkdtempSync(path.join(tmpdir(), "capture-"));
  const tape = path.join(dir, "tape.db");
  const addresses = path.join(dir, "addr.json");
  const flags = ["--listen", "127.0.0.1:0", "--addr-file", addresses, "--tape", tape, "--quiet"];
  const proxy = spawn(wstape, ["proxy", `ws://127.0.0.1:${port}`, ...flags], { stdio: "ignore" });
  process.on("exit", () => proxy.kill());
  await until(() => existsSync(addresses), "the proxy");
  const { listen } = JSON.parse(readFileSync(addresses));
  for (const client of clients) await client(`ws://${listen}`);
  const sessions = () => execFileSync(wstape, ["ls", "--json", "--tape", tape], { encoding: "utf8" }).trim().split("\n").map(JSON.parse);
  await until(() => sessions().every((s) => s.state !== "open"), "the end of all sessions");
  const numbers = sessions().map((s) => String(s.n));
  proxy.kill("SIGINT");
  await new Promise((done) => proxy.on("exit", done));
  const out = path.join(import.meta.dirname, "..", `${name}.cassette.jsonl`);
  execFileSync(wstape, ["export", ...numbers, "--tape", tape, "--out", out], { stdio: "inherit" });
  rmSync(dir, { recursive: true });
  console.log(`${name}: ${numbers.length} session(s)`);
}
