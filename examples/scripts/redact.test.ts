/// <reference path="../../script/wstape.d.ts" />

test("takes secrets out of plain text", () => {
  const session = open();
  assert.equal(
    session.client("pay with 4111 1111 1111 1111 or mail bob.b+x@example.co.uk, Authorization: Bearer abcdef0123456789").text,
    "pay with [card] or mail [e-mail], Authorization: Bearer [token]",
  );
  assert.equal(session.server("key sk-abcdefghijklmnop0123, jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln").text, "key [token], jwt [token]");
});

test("takes secrets out of JSON and leaves the other bytes as they are", () => {
  const session = open();
  const sent = session.client(
    '{ "id": 9007199254740993, "user": {"mail": "a@example.org", "password": "hunter2"},\n "access_token": 12, "at": 1.50 }',
  );
  assert.equal(
    sent.text,
    '{ "id": 9007199254740993, "user": {"mail": "[e-mail]", "password": "[secret]"},\n "access_token": "[secret]", "at": 1.50 }',
  );
});

test("goes into arrays, however deep", () => {
  const session = open();
  const deep = "[".repeat(900) + '"a@example.org"' + "]".repeat(900);
  assert.equal(session.server(deep).text, deep.replace("a@example.org", "[e-mail]"));
  assert.equal(session.server('["5500-0000-0000-0004", {"apiKey": {"a": 1}}]').text, '["[card]", {"apiKey": "[secret]"}]');
});

test("lets what is no secret pass", () => {
  const session = open();
  for (const text of [
    "4111 1111 1111 1112 is no card",
    '{"at": 1700000000000, "order": 4111111111111111, "token": null, "tokens": 5, "password": ""}',
    "me@localhost",
    "null",
    "",
  ]) {
    assert.equal(session.client(text).fate, "passed", text);
  }
  assert.equal(session.client(new Uint8Array([0xff, 0xfe])).fate, "passed");
  assert.deepEqual(session.errors, []);
});

test("is quick with long text", () => {
  const session = open();
  for (const part of ["a", "a.", "1", "4111 ", "sk-. ", "a@", "a@b.", "eyJ", "Bearer "]) {
    assert.equal(session.client(part.repeat(10_000 / part.length)).fate, "passed", part);
  }
  assert.deepEqual(session.errors, []);
});
