// @ts-nocheck
//
// Plays the recorded server to a page, without a server:
//
//   import { routeRecording } from "./FILE";
//
//   const server = await routeRecording(page);  // or a BrowserContext; before the page connects
//   …                                           // what the test does
//   await server.done();                        // throws if the page said anything else than what was recorded
//
// The n-th connection to a path gets the n-th recorded session of that path, and
// after the last the first again. What the server sends goes out when the page has
// said what the recorded client had said by then.

// @recordings

/**
 * @param target a Page or a BrowserContext
 * @param options url: which sockets to play to, as routeWebSocket takes it; usually those to the recorded paths.
 *   pace: 0 answers at once, 1 as in the recording, 2 takes twice as long.
 */
export async function routeRecording(target, { url, pace = 0 } = {}) {
  const connections = [];
  const recorded = (path) => recordings.filter((r) => pathOf(r.target) === path);
  await target.routeWebSocket(url ?? ((asked) => recorded(asked.pathname).length > 0), (ws) => {
    const path = new URL(ws.url()).pathname;
    const list = recorded(path).length > 0 ? recorded(path) : recordings;
    const before = connections.filter((c) => c.path === path).length;
    connections.push({ path, ...play(ws, list[before % list.length], pace) });
  });
  return {
    /** What was not as recorded, in words. */
    problems: () => connections.flatMap((c) => c.problems),
    /** Waits until each connection has played to its end; throws what was not as recorded. */
    async done({ timeout = 5000 } = {}) {
      let timer;
      const late = new Promise((resolve) => (timer = setTimeout(resolve, timeout)));
      await Promise.race([Promise.all(connections.map((c) => c.over)), late]);
      clearTimeout(timer);
      const problems = connections.flatMap((c) => [...c.problems, ...c.missing()]);
      if (connections.length === 0) problems.push("nothing has connected to what was recorded");
      if (problems.length > 0) throw new Error(problems.join("\n"));
    },
  };
}

const pathOf = (target) => target.split("?")[0];

function bytes(text) {
  return Buffer.from(text, "base64");
}

function play(ws, { name, steps }, pace) {
  const expected = steps.filter((step) => "hear" in step);
  const problems = [];
  let next = 0; // step
  let heard = 0; // messages
  let needed = 0; // messages that the steps before next have heard
  let closed = false;
  let waiting; // a timer
  let finish;
  const over = new Promise((resolve) => (finish = resolve));

  // Goes on with the steps as far as they need not wait for the page.
  function go() {
    while (!closed && waiting === undefined) {
      for (; next < steps.length && "hear" in steps[next]; next++) needed++;
      const step = steps[next];
      if (heard < needed) return;
      if (step === undefined || "closed" in step) return finish(); // the page closes when it likes
      next++;
      if (pace > 0 && step.after > 0) waiting = setTimeout(late, step.after * pace, step);
      else act(step);
    }
  }

  function late(step) {
    waiting = undefined;
    act(step);
    go();
  }

  function act(step) {
    if ("send" in step) return ws.send(step.send);
    if ("close" in step) stop(step.close, step.reason);
    else if ("drop" in step) stop(1006, "");
  }

  function stop(code, reason) {
    closed = true;
    clearTimeout(waiting);
    // 1005 and 1006 say that there was no code and no close frame; they are never sent.
    ws.close(code === 1005 ? {} : { code, reason });
    finish();
  }

  function mismatch(text) {
    problems.push(`${name}: ${text}`);
    stop(4000, text.slice(0, 100));
  }

  ws.onMessage((message) => {
    if (closed) return;
    const step = expected[heard++];
    if (step === undefined) return mismatch(`the page sends more than was recorded: ${shown(message)}`);
    if (!alike(step.hear, message)) return mismatch(`message ${heard} of the page: expected ${shown(step.hear)}, received ${shown(message)}`);
    go();
  });
  ws.onClose((code, reason) => {
    if (closed) return;
    stop(code ?? 1005, reason ?? "");
  });
  go();
  return {
    problems,
    over,
    missing: () => (heard < expected.length ? [`${name}: the page has sent ${heard} of ${expected.length} messages`] : []),
  };
}
