
// Keys that say what a message is: their values must be as recorded. Of all other
// values in JSON only the kind must be, for ids, times and prices change.
const telling = new Set("@telling");

/** Whether a message is what was recorded; null stands for any. */
function alike(want, got) {
  if (want === null) return true;
  if (typeof want !== typeof got) return false;
  if (typeof want !== "string") return same(new Uint8Array(want), new Uint8Array(got));
  const expected = parsed(want);
  if (expected === undefined) return want === got;
  return shaped(expected, parsed(got));
}

function same(a, b) {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function shaped(want, got) {
  if (want === null || got === null || typeof want !== "object" || typeof got !== "object") {
    return typeof want === typeof got && (want === null) === (got === null);
  }
  if (Array.isArray(want) !== Array.isArray(got)) return false;
  if (Array.isArray(want)) return want.length === 0 || got.length === 0 || want.length !== got.length || want.every((value, i) => shaped(value, got[i]));
  const keys = Object.keys(want);
  return (
    keys.length === Object.keys(got).length &&
    keys.every((key) => key in got && shaped(want[key], got[key]) && (!telling.has(key) || typeof want[key] === "object" || want[key] === got[key]))
  );
}

/** The beginning of a message, for people. */
function shown(message) {
  const text = typeof message === "string" ? JSON.stringify(message) : `${new Uint8Array(message).length} bytes`;
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}
