// A stand-in for a realtime API of the kind that language models have: the
// shape of the events is like OpenAI's Realtime API, the answers are canned.

import { randomInt } from "node:crypto";
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocketServer } from "ws";
import { listen } from "./shared.mjs";

const ANSWER = ["A tape ", "remembers ", "what ", "was ", "said."];

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const newId = (kind) => kind + "_" + Array.from({ length: 21 }, () => letters[randomInt(letters.length)]).join("");

// Refusal is an error that the client is told.
class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

class Session {
  settings = { id: newId("sess"), object: "realtime.session", model: "stand-in", modalities: ["text"], instructions: "" };
  items = []; // the conversation, in order

  constructor(ws) {
    this.ws = ws;
    this.settings.expires_at = Math.floor(Date.now() / 1000) + 1800;
    this.tell("session.created", { session: this.settings });
  }

  tell(type, fields) {
    this.ws.send(JSON.stringify({ type, event_id: newId("event"), ...fields }));
  }

  async hear(event) {
    try {
      if (!Object.hasOwn(actions, event.type)) throw new Refusal("invalid_event", `no event ${event.type}`);
      await actions[event.type](this, event);
    } catch (problem) {
      if (!(problem instanceof Refusal)) throw problem;
      const { code, message } = problem;
      this.tell("error", { error: { type: "invalid_request_error", code, message, event_id: event.event_id } });
    }
  }

  place(id) {
    const at = this.items.findIndex((item) => item.id === id);
    if (at < 0) throw new Refusal("item_not_found", `no item ${id}`);
    return at;
  }

  // add puts an item after another, at the end without one.
  add(fields, previous = this.items.at(-1)?.id) {
    const item = { id: newId("item"), object: "realtime.item", type: "message", status: "completed", ...fields };
    this.items.splice(previous ? this.place(previous) + 1 : 0, 0, item);
    this.tell("conversation.item.created", { previous_item_id: previous ?? null, item });
    return item;
  }
}

const actions = {
  "session.update"(session, { session: settings }) {
    Object.assign(session.settings, settings);
    session.tell("session.updated", { session: session.settings });
  },
  "conversation.item.create"(session, { previous_item_id, item }) {
    session.add({ role: item.role, content: item.content }, previous_item_id);
  },
  "conversation.item.delete"(session, { item_id }) {
    session.items.splice(session.place(item_id), 1);
    session.tell("conversation.item.deleted", { item_id });
  },
  async "response.create"(session) {
    const response = { id: newId("resp"), object: "realtime.response", status: "in_progress", output: [] };
    session.tell("response.created", { response });
    const item = session.add({ role: "assistant", status: "in_progress", content: [] });
    const where = { response_id: response.id, item_id: item.id, output_index: 0, content_index: 0 };
    for (const delta of ANSWER) {
      await sleep(20);
      session.tell("response.text.delta", { ...where, delta });
    }
    const text = ANSWER.join("");
    session.tell("response.text.done", { ...where, text });
    Object.assign(item, { status: "completed", content: [{ type: "text", text }] });
    session.tell("response.done", { response: { ...response, status: "completed", output: [item] } });
  },
};

const server = http.createServer();
new WebSocketServer({ server }).on("connection", (ws) => {
  ws.on("error", () => {}); // what a peer does wrong ends its connection only
  const session = new Session(ws);
  ws.on("message", (data) => session.hear(JSON.parse(data)));
});
listen(server);
