// Adds an Authorization header to the handshake, with a token that the client
// does not have to know: for a browser, which cannot set that header on a
// WebSocket, or for a test client that should not hold a secret.
//
// A script sees no environment variable that the config does not name. Here the
// name comes in a variable too; in wstape.yaml it is `script: {env: [API_TOKEN]}`.
//
//   API_TOKEN=… WSTAPE_SCRIPT_ENV=API_TOKEN \
//     wstape proxy wss://api.example.com --script examples/scripts/inject-auth.js
//
// The tape shows a pseudonym in the place of the token.

export function onRequest(req) {
  if (!env.API_TOKEN) {
    console.warn("API_TOKEN is not set, or not named in script.env: the request goes on without it");
    return;
  }
  if (req.headers.has("Authorization")) return; // the client knows better
  req.headers.set("Authorization", `Bearer ${env.API_TOKEN}`);
}
