test("what comes together leaves together, 200 to 300 ms later", () => {
  const session = open();
  for (const text of ["one", "two", "three"]) {
    assert.equal(session.client(text, { t: 5 }).fate, "passed");
  }
  session.advance(0); // nothing can come earlier than now, which tells what time it is
  assert.throws(() => session.client("earlier", { t: 5.2 }), /time does not go back/);
  assert.equal(session.client("later", { t: 5.3 }).fate, "passed");
});

test("leaves every kind of message as it is", () => {
  const session = open();
  assert.equal(session.server(new Uint8Array([1, 2]), { t: 1 }).fate, "passed");
  assert.equal(session.server("", { t: 1 }).fate, "passed");
  assert.deepEqual(session.errors, []);
});
