/// <reference path="../../script/wstape.d.ts" />

test("drops bad words and warns", () => {
  const session = open();
  assert.equal(session.client("what the Heck").fate, "dropped");
  assert.deepEqual(session.sent.map((m) => [m.to, m.text]), [["client", 'Please do not say "Heck" here.']]);
  assert.equal(session.tags.strikes, "1");
});

test("answers JSON in JSON", () => {
  const session = open();
  assert.equal(session.client({ type: "say", from: "ann", text: "darned thing" }).fate, "dropped");
  assert.deepEqual(session.sent[0].json, { type: "say", from: "moderator", text: 'Please do not say "darned" here.' });
});

test("mutes after three strikes, for half a minute", () => {
  const session = open();
  for (let t = 1; t <= 3; t++) session.client("drat", { t });
  assert.equal(session.client("hello", { t: 20 }).fate, "dropped");
  assert.equal(session.sent.at(-1)?.text, "You are muted for another 13 s.");
  assert.equal(session.client("hello", { t: 40 }).fate, "passed");
});

test("lets everything else pass", () => {
  const session = open();
  for (const text of ["hello", "check the sandblaster", '{"text": 5, "name": "heck"}', "[]", "null", '{"id": 9007199254740993}']) {
    assert.equal(session.client(text).fate, "passed", text);
  }
  assert.equal(session.client(new Uint8Array([104, 101, 99, 107])).fate, "passed");
  assert.equal(session.server("heck").fate, "passed");
  assert.deepEqual(session.sent, []);
  assert.deepEqual(session.errors, []);
});
