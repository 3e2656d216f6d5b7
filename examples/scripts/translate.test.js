test("translates plain text and keeps capitals", () => {
  const session = open();
  assert.equal(session.client("Hello, WORLD! good morning").text, "Hallo, WELT! gut Morgen");
});

test("translates the field text of JSON and nothing else in it", () => {
  const session = open();
  const sent = session.client('{ "from": "world", "id": 9007199254740993, "text": "hello there" }');
  assert.equal(sent.text, '{ "from": "world", "id": 9007199254740993, "text": "hallo da" }');
});

test("leaves alone what it does not know", () => {
  const session = open();
  for (const text of ["constructor toString", "null", "[1, 2]", '{"text": 5}', "worldwide", ""]) {
    assert.equal(session.client(text).fate, "passed", text);
  }
  assert.equal(session.client(new Uint8Array([0xff, 0])).fate, "passed");
  assert.equal(session.server("hello").fate, "passed");
  assert.deepEqual(session.errors, []);
});
