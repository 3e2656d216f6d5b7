// Fails: this is not what was recorded.

import test from "node:test";

import { chat } from "./chat.js";
import { withServer } from "./replay.js";
import { alice, bob, cassette } from "./users.js";

test("a rude bob", () =>
  withServer(cassette, (url) => Promise.all([chat(url, "alice", 3, alice), chat(url, "bob", 3, bob("Leave me alone."))])));
