// graphql-transport-ws by graphql-ws, and graphql-ws by subscriptions-transport-ws,
// which came before it.

import { buildSchema, execute, subscribe } from "graphql";
import { createClient } from "graphql-ws";
import { useServer } from "graphql-ws/use/ws";
import { SubscriptionClient, SubscriptionServer } from "subscriptions-transport-ws";
import WebSocket, { WebSocketServer } from "ws";
import { capture, listening } from "./shared.mjs";

const schema = buildSchema("type Query { hello(name: String!): String! } type Subscription { count(to: Int!): Int! }");
const roots = {
  query: { hello: ({ name }) => `Hello ${name}` },
  subscription: { count: async function* ({ to }) { for (let i = 1; i <= to; i++) yield { count: i }; } },
};
const query = "query Greet($name: String!) {\n  hello(name: $name)\n}";

const server = await listening();
const modern = new WebSocketServer({ noServer: true, handleProtocols: () => "graphql-transport-ws" });
const legacy = new WebSocketServer({ noServer: true, handleProtocols: () => "graphql-ws" });
server.on("upgrade", (request, socket, head) => {
  const of = request.url === "/legacy" ? legacy : modern;
  of.handleUpgrade(request, socket, head, (ws) => of.emit("connection", ws, request));
});
useServer({ schema, roots, onConnect: ({ connectionParams }) => connectionParams?.user !== "eve" }, modern);
SubscriptionServer.create({
  schema, execute, subscribe, keepAlive: 50,
  rootValue: { ...roots.query, ...roots.subscription },
  onConnect: ({ user }) => { if (user === "eve") throw new Error("not you"); return true; },
}, legacy);

const transport = (url, user) => createClient({
  url: `${url}/graphql`, webSocketImpl: WebSocket, connectionParams: { user }, lazy: false, keepAlive: 30, retryAttempts: 0, onNonLazyError() {},
});
async function all(client, operation) {
  for await (const _ of client.iterate(operation));
}
const results = (client, operation) => new Promise((done) => {
  client.request(operation).subscribe({ complete: done, error: done, next() {} });
});

await capture("graphql-transport-ws", server.address().port, async (url) => {
  const client = transport(url, "ann");
  await all(client, { query, variables: { name: "Ann" } });
  await all(client, { query: "subscription { count(to: 2) }" });
  await all(client, { query: "{ nothing }" }).catch(() => {});
  for await (const _ of client.iterate({ query: "subscription Two { count(to: 2) }", operationName: "Two" })) break;
  await new Promise((done) => setTimeout(done, 100)); // for a ping
  await client.dispose();
}, async (url) => {
  const client = transport(url, "eve");
  await new Promise((done) => client.on("closed", done));
});

await capture("graphql-ws", server.address().port, async (url) => {
  const client = new SubscriptionClient(`${url}/legacy`, { connectionParams: { user: "ann" } }, WebSocket);
  await results(client, { query, variables: { name: "Ann" }, operationName: "Greet" });
  await results(client, { query: "subscription { count(to: 2) }" });
  await results(client, { query: "{ nothing }" });
  const running = client.request({ query: "subscription { count(to: 3) }" }).subscribe({ next: () => running.unsubscribe() });
  await new Promise((done) => setTimeout(done, 120)); // for keep-alives
  client.close();
}, async (url) => {
  const client = new SubscriptionClient(`${url}/legacy`, { connectionParams: { user: "eve" }, reconnect: false }, WebSocket);
  await new Promise((done) => client.onDisconnected(done));
});
process.exit(0);
