// Delays every message, in both directions, by 200 to 300 ms: to see an app as
// somebody far away does.
//
//   wstape proxy ws://localhost:8765 --script examples/scripts/latency.js
//
// The delay is counted from when a message came in: ten messages that come
// together leave together, and not each 200 ms after the one before. Order is
// kept, so a message may wait for a slower one ahead of it, as on a real link.
// Pings, which only onControl would see, are not delayed.

const DELAY = 0.2; // seconds, as msg.t and session.t are; less than script.await_timeout
const JITTER = 0.1;
const SEED = 1; // the same seed, the same delays

// A script's variables belong to one session: each starts with these. One
// generator a side, so that the sides do not take each other's numbers.
const random = { client: generator(SEED), server: generator(SEED + 1) };

export async function onMessage(msg, session) {
  const due = msg.t + DELAY + JITTER * random[msg.from]();
  const wait = due - session.t;
  if (wait > 0) await new Promise((done) => setTimeout(done, wait * 1000));
}

// generator makes a function like Math.random that can be repeated (mulberry32).
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
