/// <reference path="./wstape.d.ts" />

// wstape script test NAME.js

test("changes greetings of the server", () => {
  const session = open({ url: "/chat" });
  const sent = session.server('{"type": "greeting", "text": "hi"}');
  assert.equal(sent.fate, "edited");
  assert.equal(sent.text, '{"type": "greeting", "text": "hi (changed by a script)"}');
  assert.deepEqual(session.notes, ["changed a greeting"]);
});

test("lets everything else pass", () => {
  const session = open();
  assert.equal(session.server("not JSON").fate, "passed");
  assert.equal(session.client('{"type": "greeting", "text": "hi"}').fate, "passed");
});
