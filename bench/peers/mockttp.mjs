// mockttp as a reverse proxy: node mockttp.mjs HOST:PORT UPSTREAM-HOST:PORT
import * as mockttp from 'mockttp';

const [listen, upstream] = process.argv.slice(2);
// Like HTTP Toolkit: what passes is not kept.
const server = mockttp.getLocal({ recordTraffic: false });
await server.forAnyWebSocket().thenForwardTo(`ws://${upstream}`);
await server.start(Number(listen.split(':').pop()));
