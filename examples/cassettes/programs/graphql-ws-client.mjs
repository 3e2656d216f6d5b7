// Adds a book, looks it up by the id that the server chose, has three copies of
// it printed. Operation ids are what graphql-ws picks.

import assert from "node:assert/strict";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { target } from "./shared.mjs";

const client = createClient({
  url: target("/graphql"),
  webSocketImpl: WebSocket,
  connectionParams: { reader: "ann" },
  lazy: false,
  retryAttempts: 0,
  onNonLazyError: fail,
  on: { message: (message) => console.log(JSON.stringify(message)) },
});

// No server, or one that refuses: with lazy: false nobody else would hear of it.
function fail(problem) {
  console.error("connection lost:", problem.reason ?? problem);
  process.exit(1);
}

// results runs an operation and gives all that it yields.
async function results(query, variables) {
  const all = [];
  for await (const result of client.iterate({ query, variables })) {
    assert.equal(result.errors, undefined);
    all.push(result.data);
  }
  return all;
}

const title = "The Tape";
const [{ addBook: added }] = await results("mutation Add($title: String!) { addBook(title: $title) { id title added } }", { title });
assert.equal(added.title, title);
assert.ok(added.id);

const [{ book }] = await results("query Find($id: ID!) { book(id: $id) { id title added } }", { id: added.id });
assert.deepEqual(book, added);

const copies = await results("subscription Print($id: ID!) { print(id: $id, copies: 3) { number of { id } } }", { id: added.id });
assert.deepEqual(copies, [1, 2, 3].map((number) => ({ print: { number, of: { id: added.id } } })));

await client.dispose();
