// A session that has taken messages until it was closed.
function run(seed) {
  const session = open({ env: { FLAKY_SEED: seed } });
  let passed = 0;
  while (!session.closed && session.server(`message ${passed}`).fate === "passed" && passed < 1000) passed++;
  return { session, passed };
}

test("closes with 1011 now and then", () => {
  const { session, passed } = run("1");
  assert.equal(session.closed.code, 1011);
  assert(passed < 1000);
  assert.match(session.notes.join("\n"), /seed 1/);
});

test("another seed is another run", () => {
  const lengths = ["1", "2", "3", "4"].map((seed) => run(seed).passed);
  assert(new Set(lengths).size > 1, `all failed after ${lengths[0]} messages`);
});

test("does not touch the client's messages", () => {
  const session = open();
  for (let i = 0; i < 200; i++) assert.equal(session.client("hello").fate, "passed");
});
