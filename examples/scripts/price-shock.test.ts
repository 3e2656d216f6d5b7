/// <reference path="../../script/wstape.d.ts" />

const during = { t: 12 };

test("changes prices for ten seconds", () => {
  const session = open();
  const message = '{"type":"price","symbol":"BTC","price":64000.50}';
  assert.equal(session.server(message, { t: 9.9 }).fate, "passed");
  assert.equal(session.server(message, { t: 10 }).text, '{"type":"price","symbol":"BTC","price":44800.35}');
  assert.equal(session.server(message, { t: 20 }).fate, "passed");
});

test("comes when the environment says", () => {
  const session = open({ env: { SHOCK_AFTER: "0" } });
  assert.equal(session.server('{"price":10}').text, '{"price":7}');
});

test("touches no other byte", () => {
  const session = open();
  const sent = session.server(
    '{ "id": 9007199254740993, "bid":1e2, "ask": 100.10,\n\t"qty": 1.50, "text": "\\u00fc", "big": 123456789012345678901234567890 }',
    during,
  );
  assert.equal(
    sent.text,
    '{ "id": 9007199254740993, "bid":70, "ask": 70.07,\n\t"qty": 1.50, "text": "\\u00fc", "big": 123456789012345678901234567890 }',
  );
});

test("finds prices in arrays and in strings", () => {
  const session = open();
  const sent = session.server('[{"data": {"last": "0.00012000", "price": "n/a"}}, {"price": 10}]', during);
  assert.equal(sent.text, '[{"data": {"last": "0.00008400", "price": "n/a"}}, {"price": 7}]');
});

test("lets everything else pass", () => {
  const session = open();
  for (const text of ["price", "null", "12", "[]", '{"price": null}', '{"price": true}', '{"price": "1e5"}', '{"open": [1, 2]}']) {
    assert.equal(session.server(text, during).fate, "passed", text);
  }
  assert.equal(session.server(new Uint8Array([1, 2, 3]), during).fate, "passed");
  assert.equal(session.client('{"price": 10}', during).fate, "passed");
  assert.deepEqual(session.errors, []);
});
