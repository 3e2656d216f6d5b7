#!/bin/sh
# Installs the peers of the end-to-end tests, and what the examples import from
# npm. Safe to run again; what cannot be installed is reported in one line
# and does not stop the rest.
set -u
cd "$(dirname "$0")" || exit 0

python=${WSTAPE_PYTHON:-/usr/bin/python3}
chromium=${WSTAPE_CHROMIUM:-/usr/bin/chromium}
log=$(mktemp) || exit 0
trap 'rm -f "$log"' EXIT
updated=

have_python() { "$python" -c 'import websockets' 2>/dev/null; }
have_pytest() { "$python" -c 'import pytest' 2>/dev/null; }
have_chromium() { [ -x "$chromium" ]; }
have_mitmproxy() { command -v mitmdump >/dev/null; }
have_tshark() { command -v tshark >/dev/null; }

missing() { echo "peer missing: $1: $2" >&2; }

# debian PEER PACKAGE CHECK
debian() {
	if "$3"; then
		echo "peer present: $1"
		return
	fi
	if ! command -v apt-get >/dev/null; then
		missing "$1" "no apt-get here, install $2 by hand"
		return
	fi
	if [ "$(id -u)" -ne 0 ]; then
		missing "$1" "run this as root, or: sudo apt-get install $2"
		return
	fi
	if [ -z "$updated" ]; then
		apt-get update >"$log" 2>&1 || echo "apt-get update failed: $(tail -n 1 "$log")" >&2
		updated=yes
	fi
	if ! DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$2" >"$log" 2>&1; then
		missing "$1" "apt-get install $2 failed: $(tail -n 1 "$log")"
	elif ! "$3"; then
		missing "$1" "$2 is installed, but not where the tests look, see e2e/doc.go"
	else
		echo "peer installed: $1"
	fi
}

debian python3-websockets python3-websockets have_python
debian python3-pytest python3-pytest have_pytest
debian chromium chromium have_chromium
debian mitmproxy mitmproxy have_mitmproxy
debian tshark tshark have_tshark

# npm PEER FOLDER
npm_modules() {
	if (cd "$2" && npm ls --silent >/dev/null 2>&1); then
		echo "peer present: $1"
	elif ! command -v npm >/dev/null; then
		missing "$1" "no npm here, install Node.js 20 or newer"
	elif (cd "$2" && npm ci --no-audit --no-fund) >"$log" 2>&1; then
		echo "peer installed: $1"
	else
		missing "$1" "npm ci failed: $(grep -m 1 -E '^npm error .*(Error:|failed)' "$log" || tail -n 1 "$log")"
	fi
}

npm_modules "node modules" node
npm_modules "node modules of examples/scripts" ../../examples/scripts/npm-package
npm_modules "node modules of examples/cassettes" ../../examples/cassettes/programs
npm_modules "node modules of examples/testing" ../../examples/testing
exit 0
