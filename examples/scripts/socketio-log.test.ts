/// <reference path="../../script/wstape.d.ts" />

const url = "/socket.io/?EIO=4&transport=websocket";

test("notes events, acks and namespaces", () => {
  const session = open({ url });
  for (const text of ['0{"sid":"x"}', "40", '40{"sid":"y"}']) session.server(text);
  session.client('42["chat","hello",{"to":"bob"}]');
  session.client('42/rooms,3["join"]');
  session.server('43/rooms,3["ok"]');
  session.server('44{"message":"no"}');
  session.client("41/rooms,");
  assert.deepEqual(session.notes, [
    'server: Engine.IO opens {"sid":"x"}',
    "server: connect",
    'server: connect {"sid":"y"}',
    'client: event "chat" ["hello",{"to":"bob"}]',
    'client: event "join" /rooms ack 3 []',
    'server: ack /rooms 3 ["ok"]',
    'server: connect error {"message":"no"}',
    "client: disconnect /rooms",
  ]);
});

test("puts attachments where they belong, each side's own", () => {
  const session = open({ url });
  session.server('452-["file",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
  session.client('461-7[{"_placeholder":true,"num":0}]');
  session.server(new Uint8Array(12));
  session.client(new Uint8Array(3));
  session.server("2");
  session.server(new Uint8Array(1));
  assert.deepEqual(session.notes, ["client: ack 7 [<3 bytes>]", 'server: event "file" [<12 bytes>,<1 bytes>]']);
});

test("knows Engine.IO 3's binary messages", () => {
  const session = open({ url: "/socket.io/?EIO=3&transport=websocket" });
  session.server('451-["file",{"_placeholder":true,"num":0}]');
  session.server(new Uint8Array([4, 1, 2, 3]));
  assert.deepEqual(session.notes, ['server: event "file" [<3 bytes>]']);
});

test("says when attachments are missing or too many", () => {
  const session = open({ url });
  session.server('451-["file",{"_placeholder":true,"num":0}]');
  session.server('42["next"]');
  session.server(new Uint8Array(2));
  assert.deepEqual(session.notes, [
    'server: event "file" (0 of 1 attachments came) [{"_placeholder":true,"num":0}]',
    'server: event "next" []',
    "server: a binary message that nobody announced, 2 bytes",
  ]);
});

test("changes nothing and does not stumble", () => {
  const session = open({ url });
  const strange = ["", "2", "3probe", "9", "hello", "4", "49", '42["a"', "42{}", "42null", '4299-["a"]', "42" + "[".repeat(900), "4/", '42["' + "x".repeat(2000) + '"]'];
  for (const text of strange) {
    assert.equal(session.client(text).fate, "passed", text);
    assert.equal(session.server(text).fate, "passed", text);
  }
  assert.equal(session.client(new Uint8Array(0)).fate, "passed");
  assert.deepEqual(session.sent, []);
  assert.deepEqual(session.errors, []);
});
