import { decode, encode } from "@msgpack/msgpack";

const options = { useBigInt64: true };

test("upper-cases the text", () => {
  const session = open();
  const sent = session.server(encode({ id: 2n ** 53n + 1n, text: "hello", list: [1, null, new Uint8Array([7])] }, options));
  assert.equal(sent.fate, "edited");
  const value = decode(sent.bytes, options);
  assert.equal(value.text, "HELLO");
  assert.equal(value.id, 2n ** 53n + 1n);
  assert.deepEqual(value.list, [1, null, new Uint8Array([7])]);
});

test("lets everything else pass", () => {
  const session = open();
  for (const data of [encode({ text: "HI" }), encode({ text: 5 }), encode([1]), encode(null), new Uint8Array([0xc1]), new Uint8Array(0), "text", '{"text": "hello"}']) {
    assert.equal(session.server(data).fate, "passed");
  }
  assert.equal(session.client(encode({ text: "hello" })).fate, "passed");
  assert.deepEqual(session.errors, []);
});
