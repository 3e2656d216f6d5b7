// SignalR's MessagePack hub; see signalr-json.mjs.

import { MessagePackHubProtocol } from "@microsoft/signalr-protocol-msgpack";
import { BinaryMessageFormat } from "@microsoft/signalr-protocol-msgpack/dist/cjs/BinaryMessageFormat.js";
import { decode } from "@msgpack/msgpack";
import { capture, listening } from "./shared.mjs";
import { serve, talk } from "./signalr-json.mjs";

// What a client says, as far as serve looks at it.
const parse = (data) =>
  BinaryMessageFormat.parse(new Uint8Array(data).buffer).map((record) => {
    const [type, , invocationId, target, args] = decode(record);
    return { type, invocationId, target, arguments: args };
  });

const server = await listening();
serve(server, new MessagePackHubProtocol(), parse);
await capture("signalr-msgpack", server.address().port, (url) => talk(url, new MessagePackHubProtocol()));
process.exit(0);
