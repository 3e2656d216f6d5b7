test("adds the token to the handshake", () => {
  const session = open({ env: { API_TOKEN: "s3cret" } });
  assert.equal(session.request().headers.get("Authorization"), "Bearer s3cret");
});

test("keeps the client's own Authorization", () => {
  const session = open({ env: { API_TOKEN: "s3cret" } });
  const request = session.request({ headers: { authorization: "Basic YTpi" } });
  assert.equal(request.headers.get("Authorization"), "Basic YTpi");
});

test("says so when there is no token, and lets the request pass", () => {
  const session = open();
  const request = session.request();
  assert.ok(!request.headers.has("Authorization"));
  assert.equal(request.refusal, undefined);
  assert.equal(session.logs[0].level, "warn");
  assert.match(session.logs[0].text, /API_TOKEN is not set/);
});
