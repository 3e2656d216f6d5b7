/// <reference path="../../script/wstape.d.ts" />

// Notes how long GraphQL operations take over a WebSocket (the subprotocol
// graphql-transport-ws): until the first result, and until they are complete.
// Changes nothing.
//
//   wstape proxy http://localhost:4000 --script examples/scripts/graphql-latency.ts
//
// The notes are in the live log and on the tape (`wstape show 1`), like
//
//   query GetUser: first result after 12.3 ms
//   query GetUser: complete after 12.9 ms, 1 result
//
// Times are from when wstape saw the request until it saw the answer: the
// server's part and the way there and back.

// An operation that is under way.
interface Operation {
  name: string;
  began: number; // seconds, as msg.t
  results: number;
}

// By id; both sides choose them, so it is a Map and no object.
type State = { operations?: Map<string, Operation> };

const mostOpen = 1000; // more than that, and the server never completes them

export function onMessage(msg: wstape.Message, session: wstape.Session) {
  if (session.subprotocol !== "graphql-transport-ws" || msg.op !== "text") return;
  const packet = msg.json;
  if (typeof packet?.id !== "string") return; // ping, pong, connection_init …
  const operations = ((session.state as State).operations ??= new Map());
  if (msg.from === "client" && packet.type === "subscribe") {
    if (operations.size < mostOpen) operations.set(packet.id, { name: nameOf(packet), began: msg.t, results: 0 });
    return;
  }
  const operation = operations.get(packet.id);
  if (!operation) return;
  const took = `${((msg.t - operation.began) * 1000).toFixed(1)} ms`;
  const results = `${operation.results} result${operation.results === 1 ? "" : "s"}`;
  switch (`${msg.from} ${packet.type}`) {
    case "server next":
      if (operation.results++ === 0) session.note(`${operation.name}: first result after ${took}`);
      return;
    case "server complete":
      session.note(`${operation.name}: complete after ${took}, ${results}`);
      break;
    case "server error":
      session.note(`${operation.name}: failed after ${took}: ${messageOf(packet.payload)}`);
      break;
    case "client complete":
      session.note(`${operation.name}: cancelled after ${took}, ${results}`);
      break;
    default:
      return;
  }
  operations.delete(packet.id);
}

export function onClose(_: wstape.Ending, session: wstape.Session) {
  for (const operation of (session.state as State).operations?.values() ?? []) {
    session.note(`${operation.name}: still open at the end, ${operation.results} results`);
  }
}

// nameOf calls an operation what its author does.
function nameOf(packet: any): string {
  const { query, operationName } = packet.payload ?? {};
  const [, kind, name] = /\b(query|mutation|subscription)\b\s*(\w+)?/.exec(String(query ?? "")) ?? [];
  return [kind ?? "query", operationName ?? name ?? `with id ${packet.id}`].join(" ").slice(0, 100);
}

function messageOf(errors: any): string {
  return String(errors?.[0]?.message ?? "no reason given").slice(0, 200);
}
