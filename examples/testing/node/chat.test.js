import assert from "node:assert/strict";
import test from "node:test";

import { chat } from "./chat.js";
import { withServer } from "./replay.js";
import { alice, bob, cassette } from "./users.js";

const everything = ["Hello bob, are you there?", "I am, alice.", "Good. Until tomorrow."];

test("two talk", () =>
  withServer(cassette, async (url) => {
    const heard = await Promise.all([chat(url, "alice", 3, alice), chat(url, "bob", 3, bob("I am, alice."))]);
    assert.deepEqual(heard, [everything, everything]);
  }));

test("what was not recorded is found out", async () => {
  const rude = withServer(cassette, (url) => Promise.all([chat(url, "alice", 3, alice), chat(url, "bob", 3, bob("Leave me alone."))]));
  await assert.rejects(rude, /\$\.text: "I am, alice\." → "Leave me alone\."/);
});
