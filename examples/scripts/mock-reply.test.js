test("answers in the server's place", () => {
  const session = open();
  const request = session.client('{"jsonrpc": "2.0", "id": "a7", "method": "user.get", "params": {"id": 3}}');
  assert.equal(request.fate, "dropped");
  assert.equal(session.sent.length, 1);
  assert.equal(session.sent[0].to, "client");
  assert.deepEqual(session.sent[0].json, { jsonrpc: "2.0", id: "a7", result: { id: 3, name: "Alice Example" } });
});

test("carries ids that a JavaScript number cannot hold", () => {
  const session = open();
  session.client('{"id": 9007199254740993, "method": "feature.list"}');
  assert.equal(session.sent[0].text, '{"id": 9007199254740993, "result": ["dark-mode","beta"]}');
});

test("lets everything else pass", () => {
  const session = open();
  for (const text of [
    '{"id": 1, "method": "user.delete"}',
    '{"id": 1, "method": "constructor"}',
    '{"method": "user.get", "params": {"id": 3}}',
    '[{"id": 1, "method": "user.get"}]',
    "null",
    "hello",
  ]) {
    assert.equal(session.client(text).fate, "passed", text);
  }
  assert.equal(session.client(new Uint8Array([1, 2])).fate, "passed");
  assert.equal(session.server('{"id": 1, "method": "user.get"}').fate, "passed");
  assert.deepEqual(session.sent, []);
  assert.deepEqual(session.errors, []);
});

test("answers strange params too", () => {
  const session = open();
  session.client('{"id": null, "method": "user.get", "params": 5}');
  session.client('{"id": 2, "method": "user.get"}');
  assert.deepEqual(session.sent.map((m) => m.json.result.id), [null, null]);
});
