// Plays a server that fails now and then: with one in fifty of the server's
// messages it closes the session with 1011 (internal error) instead. For apps
// that say they reconnect.
//
//   wstape proxy ws://localhost:8765 --script examples/scripts/flaky-server.js
//
// The failures are not quite by chance: they depend on the seed and on whether
// it is the first, second … session since wstape started, so a run that found a
// bug can be repeated. For another run, choose another seed:
//
//   FLAKY_SEED=7 WSTAPE_SCRIPT_ENV=FLAKY_SEED \
//     wstape proxy ws://localhost:8765 --script examples/scripts/flaky-server.js

const CHANCE = 1 / 50;
const SEED = Number(env.FLAKY_SEED ?? 1) | 0;

export const from = "server";

export function onOpen(session) {
  const nth = store.update("flaky-server sessions", (n = 0) => n + 1); // store is shared by all sessions
  session.state.seed = Math.imul(SEED, 10_007) + nth;
}

export function onMessage(msg, session) {
  if (random(session.state) >= CHANCE) return;
  session.note(`fails here, seed ${SEED}`);
  session.close(1011, "flaky");
  return false; // the message is lost, as it would be
}

// random is like Math.random, but can be repeated (mulberry32). Its state is kept
// in session.state, which survives when this file is saved and reloaded.
function random(state) {
  state.seed = (state.seed + 0x6d2b79f5) | 0;
  let t = Math.imul(state.seed ^ (state.seed >>> 15), 1 | state.seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
