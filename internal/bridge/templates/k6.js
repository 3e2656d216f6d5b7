//
//   k6 run FILE                                  as it was recorded, each session once
//   k6 run --vus 20 --duration 1m FILE           as load: each iteration is the next session
//   k6 run -e TARGET=wss://staging.example FILE  against another server
//
// -e PACE=0 sends as soon as the answers are there, 2 takes twice as long as the
// recording. -e PATIENCE=10 is how many seconds a message may be late. A message is
// sent when as many messages have come as had come when it was recorded.

import { check } from "k6";
import { b64decode } from "k6/encoding";
import exec from "k6/execution";
import { WebSocket } from "k6/websockets";

const pace = Number(__ENV.PACE ?? 1);
const patience = Number(__ENV.PATIENCE ?? 10) * 1000;
const bytes = (text) => b64decode(text, "std");

// @recordings

export const options = {
  vus: recordings.length,
  iterations: recordings.length,
  thresholds: { checks: ["rate==1"] },
};

export default function () {
  const recording = recordings[exec.scenario.iterationInTest % recordings.length];
  setTimeout(() => play(recording), recording.begin * pace);
}

function play({ name, server, target, protocols, headers, compression, steps }) {
  const params = { headers, tags: { session: name } };
  if (compression) params.compression = compression;
  const ws = new WebSocket((__ENV.TARGET || server) + target, protocols ?? [], params);
  ws.binaryType = "arraybuffer";

  const expected = steps.filter((step) => "hear" in step);
  let next = 0; // step
  let heard = 0; // messages
  let needed = 0; // messages that the steps before next have heard
  let timer;
  let over = false;

  const verify = (what, held, details) => {
    if (!check(held, { [`${name}: ${what}`]: (v) => v })) console.error(`${name}: ${what}: not so: ${details}`);
  };
  const end = () => {
    over = true;
    clearTimeout(timer);
    if (ws.readyState === WebSocket.OPEN) ws.close();
  };
  const late = (what) => {
    verify("everything came in time", false, `${what} did not come within ${patience / 1000} s`);
    end();
  };

  // Goes on with the steps as far as they need not wait for the server.
  function go() {
    clearTimeout(timer);
    for (; next < steps.length && "hear" in steps[next]; next++) needed++;
    const step = steps[next];
    if (heard < needed) {
      timer = setTimeout(() => late(`message ${heard + 1} of ${expected.length} of the server`), expected[heard].after * pace + patience);
    } else if (step === undefined) {
      end();
    } else if ("closed" in step) {
      timer = setTimeout(() => late(`the close with ${step.closed}`), step.after * pace + patience);
    } else {
      timer = setTimeout(() => {
        next++;
        if ("send" in step) ws.send(step.send);
        else if ("ping" in step) ws.ping();
        else return close(step);
        go();
      }, step.after * pace);
    }
  }

  function close(step) {
    over = true;
    // A client of k6 may close with these codes only; its default is 1000.
    if (step.close === 1000 || (step.close >= 3000 && step.close <= 4999)) ws.close(step.close, step.reason);
    else ws.close();
  }

  ws.addEventListener("open", () => {
    verify("connected", true);
    go();
  });
  ws.addEventListener("message", ({ data }) => {
    if (heard < expected.length) {
      const want = expected[heard].hear;
      verify("answers are as recorded", alike(want, data), `message ${heard + 1} of the server: expected ${shown(want)}, received ${shown(data)}`);
    }
    heard++;
    if (!over && heard <= needed) go();
  });
  ws.addEventListener("error", ({ error }) => {
    const step = steps[next];
    if (!over && !(step && "closed" in step)) verify("connected", false, error);
  });
  ws.addEventListener("close", ({ code }) => {
    clearTimeout(timer);
    if (over) return;
    over = true;
    const step = steps[next];
    const meant = step !== undefined && "closed" in step && heard >= needed;
    verify("the server closes as recorded", meant && (code ?? 1005) === step.closed, `closed with ${code ?? "no code"} after ${heard} messages`);
  });
}

/** The live value of what the recording has a pseudonym of. */
function secret(name) {
  if (__ENV[name] === undefined) throw new Error(`the recording holds no secrets: give the live one with -e ${name}=…`);
  return __ENV[name];
}
