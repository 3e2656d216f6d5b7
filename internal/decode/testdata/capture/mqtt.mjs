// MQTT 3.1.1 and 3.1 with a broker, and MQTT 5 with a stand-in for one: there is
// no broker of that for Node, so it writes with the client's own codec.

import { Aedes } from "aedes";
import mqtt from "mqtt";
import packets from "mqtt-packet";
import { WebSocketServer, createWebSocketStream } from "ws";
import { capture, listening } from "./shared.mjs";

// talk is what a client says.
async function talk(url, options) {
  const client = await mqtt.connectAsync(`${url}/mqtt`, {
    reconnectPeriod: 0,
    keepalive: 1,
    username: "ann",
    password: "capture",
    will: { topic: "gone/ann", payload: "bye", qos: 1, retain: false },
    ...options,
  });
  const heard = (topic) =>
    new Promise((done) => client.on("message", (t, payload) => t === topic && done(payload)));
  await client.subscribeAsync({ "room/#": { qos: 1 }, "news/+/today": { qos: 0 } });
  const extra = options.protocolVersion === 5
    ? { properties: { contentType: "application/json", responseTopic: "room/answers", correlationData: Buffer.from([1, 2, 3]), userProperties: { trace: "a1", lang: ["de", "en"] } } }
    : {};
  const topics = { "room/text": "Grüße", "room/json": '{"temp": 21.5, "ok": true}', "room/bytes": Buffer.from([0, 1, 254, 255]) };
  let qos = 0;
  for (const [topic, payload] of Object.entries(topics)) {
    const back = heard(topic);
    await client.publishAsync(topic, payload, { qos: qos++, ...extra });
    await back;
  }
  const long = heard("room/long");
  await client.publishAsync("room/long", "0123456789".repeat(300), { qos: 1 });
  await long;
  await client.publishAsync("other/kept", "", { retain: true });
  await new Promise((done) => client.on("packetreceive", (p) => p.cmd === "pingresp" && done()));
  await client.unsubscribeAsync("room/#");
  await client.endAsync(false, options.protocolVersion === 5 ? { reasonCode: 0x04 } : {});
}

// five is enough of a broker of MQTT 5 for one client.
function five(stream) {
  const parser = packets.parser({ protocolVersion: 5 });
  const send = (packet) => stream.write(packets.generate(packet, { protocolVersion: 5 }));
  let id = 100;
  const deliver = ({ topic, payload, qos, properties = {} }) => {
    const about = { ...properties, subscriptionIdentifier: 7 };
    send({ cmd: "publish", topic, payload, qos: Math.min(qos, 1), messageId: id++, properties: about });
  };
  parser.on("packet", (p) => {
    const { cmd, messageId, qos } = p;
    switch (cmd) {
      case "connect":
        return send({ cmd: "connack", reasonCode: 0, sessionPresent: false, properties: { assignedClientIdentifier: "given-1", topicAliasMaximum: 10, maximumQoS: 1 } });
      case "subscribe":
        return send({ cmd: "suback", messageId, granted: p.subscriptions.map((s) => s.qos) });
      case "unsubscribe":
        return send({ cmd: "unsuback", messageId, granted: [0x11], properties: { reasonString: "no such subscription" } });
      case "publish":
        if (qos === 1) send({ cmd: "puback", messageId, reasonCode: 0x10, properties: { reasonString: "nobody listens" } });
        if (qos === 2) send({ cmd: "pubrec", messageId, reasonCode: 0 });
        return p.topic.startsWith("room/") && deliver(p);
      case "pubrel":
        return send({ cmd: "pubcomp", messageId, reasonCode: 0 });
      case "pingreq":
        return send({ cmd: "pingresp" });
    }
  });
  stream.on("data", (data) => parser.parse(data));
}

async function serve(handle) {
  const server = await listening();
  new WebSocketServer({ server }).on("connection", (ws, request) => {
    const stream = createWebSocketStream(ws);
    stream.on("error", () => {});
    handle(stream, request);
  });
  return server.address().port;
}

const broker = await Aedes.createBroker();
await capture(
  "mqtt",
  await serve(broker.handle),
  (url) => talk(url, { protocolVersion: 4, clientId: "capture-311" }),
  (url) => talk(url, { protocolVersion: 3, protocolId: "MQIsdp", clientId: "capture-31" }),
);
await capture("mqtt5", await serve(five), (url) =>
  talk(url, { protocolVersion: 5, clientId: "", properties: { sessionExpiryInterval: 60, receiveMaximum: 20 } }));
process.exit(0);
