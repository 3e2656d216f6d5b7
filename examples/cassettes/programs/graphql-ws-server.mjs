// A bookshop that speaks graphql-transport-ws, on graphql-ws, graphql and ws.

import { randomUUID } from "node:crypto";
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { buildSchema } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";
import { listen } from "./shared.mjs";

const schema = buildSchema(`
  type Book { id: ID!, title: String!, added: String! }
  type Query { book(id: ID!): Book }
  type Mutation { addBook(title: String!): Book! }
  type Copy { number: Int!, of: Book! }
  type Subscription { print(id: ID!, copies: Int!): Copy! }
`);

const books = new Map();

function find(id) {
  if (!books.has(id)) throw new Error(`no book ${id}`);
  return books.get(id);
}

const roots = {
  query: { book: ({ id }) => find(id) },
  mutation: {
    addBook({ title }) {
      const book = { id: randomUUID(), title, added: new Date().toISOString() };
      books.set(book.id, book);
      return book;
    },
  },
  subscription: {
    async *print({ id, copies }) {
      const of = find(id);
      for (let number = 1; number <= copies; number++) {
        await sleep(50);
        yield { print: { number, of } };
      }
    },
  },
};

const server = http.createServer();
useServer(
  { schema, roots, onConnect: ({ connectionParams }) => connectionParams?.reader === "ann" },
  new WebSocketServer({ server, path: "/graphql" }),
);
listen(server);
