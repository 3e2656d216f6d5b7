/// <reference path="../../script/wstape.d.ts" />

const graphql = { url: "/graphql", subprotocol: "graphql-transport-ws" };

test("measures a query", () => {
  const session = open(graphql);
  session.client({ type: "connection_init" }, { t: 0.5 });
  session.server({ type: "connection_ack" }, { t: 0.6 });
  session.client({ id: "a", type: "subscribe", payload: { query: "query GetUser { user { name } }" } }, { t: 1 });
  session.server({ id: "a", type: "next", payload: { data: {} } }, { t: 1.25 });
  session.server({ id: "a", type: "complete" }, { t: 1.5 });
  assert.deepEqual(session.notes, ["query GetUser: first result after 250.0 ms", "query GetUser: complete after 500.0 ms, 1 result"]);
});

test("pairs by id", () => {
  const session = open(graphql);
  session.client({ id: "__proto__", type: "subscribe", payload: { query: "{ a }" } }, { t: 1 });
  session.client({ id: "b", type: "subscribe", payload: { query: "query A {a} mutation B {b}", operationName: "B" } }, { t: 2 });
  session.server({ id: "b", type: "error", payload: [{ message: "no" }] }, { t: 3 });
  session.server({ id: "__proto__", type: "complete" }, { t: 4 });
  session.server({ id: "__proto__", type: "next" }, { t: 5 });
  assert.deepEqual(session.notes, ["query B: failed after 1000.0 ms: no", "query with id __proto__: complete after 3000.0 ms, 0 results"]);
});

test("tells of subscriptions that are cancelled or left open", () => {
  const session = open(graphql);
  for (const id of ["a", "b"]) {
    session.client({ id, type: "subscribe", payload: { query: `subscription Prices_${id} { price }` } }, { t: 1 });
  }
  session.server({ id: "a", type: "next", payload: {} }, { t: 1.1 });
  session.server({ id: "a", type: "next", payload: {} }, { t: 2 });
  session.client({ id: "a", type: "complete" }, { t: 3 });
  session.close({ code: 1000 });
  assert.deepEqual(session.notes, [
    "subscription Prices_a: first result after 100.0 ms",
    "subscription Prices_a: cancelled after 2000.0 ms, 2 results",
    "subscription Prices_b: still open at the end, 0 results",
  ]);
});

test("changes nothing and does not stumble", () => {
  const session = open(graphql);
  for (const text of ["", "null", "[]", '{"id":1}', '{"id":"a"}', '{"id":"a","type":"subscribe"}', '{"id":"a","type":"error","payload":null}', '{"type":"next","id":"a"}']) {
    assert.equal(session.client(text).fate, "passed", text);
    assert.equal(session.server(text).fate, "passed", text);
  }
  assert.equal(session.client(new Uint8Array([1])).fate, "passed");
  assert.deepEqual(session.errors, []);
});

test("keeps out of other protocols", () => {
  const session = open({ url: "/ticker" });
  session.client({ id: "a", type: "subscribe" });
  session.server({ id: "a", type: "complete" });
  assert.deepEqual(session.notes, []);
});
