// wstape replay server for tests, whatever runs them. Copy it beside yours.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const patience = 5000; // ms

/** Serves a cassette once while use(url) runs: ws://HOST:PORT, to which the
 *  client adds its path. If something else happened than was recorded, this
 *  throws the report. */
export async function withServer(cassette, use, ...flags) {
  const folder = await mkdtemp(join(tmpdir(), "replay-"));
  const address = join(folder, "addr.json");
  const args = ["replay", "server", cassette, "--once", "--listen", "127.0.0.1:0", "--addr-file", address];
  const server = spawn(process.env.WSTAPE ?? "wstape", [...args, ...flags]);
  const [report, talk] = [server.stdout, server.stderr].map(lines);
  const ended = once(server, "close");
  let failure;
  try {
    await use("ws://" + (await listening(server, address)));
  } catch (error) {
    failure = error;
  }
  // It ends by itself when every session has been played, however that went; a
  // client that never connected is not waited for.
  const timer = setTimeout(() => server.kill("SIGINT"), patience);
  const [code] = await ended;
  clearTimeout(timer);
  await rm(folder, { recursive: true });
  if (code !== 0) throw new Error(report.join("") || talk.join(""), { cause: failure });
  if (failure) throw failure;
}

function lines(stream) {
  const list = [];
  stream.setEncoding("utf8").on("data", (text) => list.push(text));
  return list;
}

async function listening(server, address) {
  for (let tries = 0; server.exitCode === null && tries < patience / 10; tries++) {
    try {
      return JSON.parse(await readFile(address, "utf8")).listen;
    } catch {
      await sleep(10); // not yet
    }
  }
  throw new Error("wstape does not listen");
}
