test("upper-cases what the server says", () => {
  const session = open();
  assert.equal(session.server("hello, wörld").text, "HELLO, WÖRLD");
});

test("leaves the client, binary messages and what is upper case already alone", () => {
  const session = open();
  assert.equal(session.client("hello").fate, "passed");
  assert.equal(session.server(new Uint8Array([104, 105])).fate, "passed");
  assert.equal(session.server("HI").fate, "passed");
  assert.deepEqual(session.errors, []);
});
