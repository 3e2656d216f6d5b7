/// <reference path="../../script/wstape.d.ts" />

// Reads Engine.IO and Socket.IO packets and notes the events: what went by, in
// words, in the live log and on the tape. Changes nothing.
//
//   wstape proxy http://localhost:3000 --script examples/scripts/socketio-log.ts
//
// A note looks like
//
//   server: event "chat" /rooms ack 3 ["hello",<12 bytes>]
//
// for a packet 451-/rooms,3["chat","hello",{"_placeholder":true,"num":0}] and the
// binary message behind it. Engine.IO's pings are not noted. Only the WebSocket
// is seen: what was said by HTTP polling before the upgrade is not.
// For Engine.IO 3 and 4, Socket.IO's default parser.

const engineTypes = ["open", "close", "ping", "pong", "message", "upgrade", "noop"];
const socketTypes = ["connect", "disconnect", "event", "ack", "connect error", "event", "ack"];
const longest = 500; // characters of a note

// A packet, and what of its attachments has come.
interface Packet {
  head: string; // up to the arguments
  args: unknown;
  want: number;
  sizes: number[];
}

// Of each side, the packet that waits for attachments.
type Waiting = { [side: string]: Packet | undefined };

export function onMessage(msg: wstape.Message, session: wstape.Session) {
  const waiting = session.state as Waiting;
  if (msg.op === "binary") {
    attach(msg, session, waiting);
    return;
  }
  const text = msg.text ?? "";
  switch (engineTypes[Number(text[0])]) {
    case "open":
      note(msg, session, `Engine.IO opens ${text.slice(1)}`);
      break;
    case "close":
      note(msg, session, "Engine.IO closes");
      break;
    case "upgrade":
      note(msg, session, "Engine.IO goes on here");
      break;
    case "message":
      missing(msg, session, waiting);
      packet(msg, session, waiting, text.slice(1));
  }
}

// packet reads TYPE[ATTACHMENTS-][/NAMESPACE,][ACK][JSON].
function packet(msg: wstape.Message, session: wstape.Session, waiting: Waiting, text: string) {
  const parts = /^([0-6])(?:(\d{1,4})-)?(?:(\/[^,]*),?)?(\d+)?(.*)$/s.exec(text);
  if (!parts) {
    note(msg, session, `a message that is not Socket.IO: ${text}`);
    return;
  }
  const [, type, attachments, namespace, ack, json] = parts;
  let args: unknown = json === "" ? undefined : parse(json);
  let head = socketTypes[Number(type)];
  if (head === "event" && Array.isArray(args)) {
    head += ` ${JSON.stringify(args[0])}`;
    args = args.slice(1);
  }
  if (namespace && namespace !== "/") head += ` ${namespace}`;
  if (ack !== undefined) head += head.startsWith("ack") ? ` ${ack}` : ` ack ${ack}`;
  const found: Packet = { head, args, want: type >= "5" ? Number(attachments ?? 0) : 0, sizes: [] };
  if (found.want > 0) waiting[msg.from] = found;
  else show(msg, session, found);
}

// parse reads JSON; what is none is shown as the text that it is.
function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return json;
  }
}

// attach takes a binary message for the next attachment.
function attach(msg: wstape.Message, session: wstape.Session, waiting: Waiting) {
  const open = waiting[msg.from];
  const engine3 = /[?&]EIO=3(&|$)/.test(session.url); // which puts its type before the bytes
  const size = msg.len - (engine3 ? 1 : 0);
  if (!open) {
    note(msg, session, `a binary message that nobody announced, ${size} bytes`);
    return;
  }
  open.sizes.push(size);
  if (open.sizes.length < open.want) return;
  waiting[msg.from] = undefined;
  show(msg, session, open);
}

// missing notes a packet whose attachments have not all come before the next one.
function missing(msg: wstape.Message, session: wstape.Session, waiting: Waiting) {
  const open = waiting[msg.from];
  if (!open) return;
  waiting[msg.from] = undefined;
  show(msg, session, { ...open, head: `${open.head} (${open.sizes.length} of ${open.want} attachments came)` });
}

function show(msg: wstape.Message, session: wstape.Session, { head, args, sizes }: Packet) {
  const text = JSON.stringify(args)?.replace(/\{"_placeholder":true,"num":(\d+)\}/g, (all, num) => (num in sizes ? `<${sizes[num]} bytes>` : all));
  note(msg, session, text === undefined ? head : `${head} ${text}`);
}

function note(msg: wstape.Message, session: wstape.Session, text: string) {
  if (text.length > longest) text = text.slice(0, longest) + "…";
  session.note(`${msg.from}: ${text}`);
}
