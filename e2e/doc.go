// Package e2e holds whole-program tests: the wstape binary between WebSocket
// programs that other people wrote (Python websockets, Node ws, Chromium,
// gorilla/websocket, coder/websocket), and its tape read back with wstape's own
// commands.
//
// The programs under peers are the other ends. peers/install.sh installs what
// they need. mitmproxy, tshark and Playwright make and read the files that wstape
// exchanges with them; k6 and Artillery run what it exports only with
// peers/bridges.sh (make bridges-peers). A test whose peer is missing is skipped by name; with
// WSTAPE_REQUIRE_PEERS=1 it fails. WSTAPE_PYTHON, WSTAPE_NODE and
// WSTAPE_CHROMIUM name other interpreters and browsers than the usual ones.
package e2e
