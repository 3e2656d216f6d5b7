#!/bin/sh
# Installs the peers of the benchmark. Safe to run again; what cannot be
# installed is reported in one line and has no row in the results.
set -u
cd "$(dirname "$0")" || exit 0

log=$(mktemp) || exit 0
trap 'rm -f "$log"' EXIT
updated=

missing() { echo "peer missing: $1: $2" >&2; }

# debian PROGRAM PACKAGE
debian() {
	if command -v "$1" >/dev/null; then
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
	if DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$2" >"$log" 2>&1; then
		echo "peer installed: $1"
	else
		missing "$1" "apt-get install $2 failed: $(tail -n 1 "$log")"
	fi
}

debian nginx nginx-light
debian haproxy haproxy
debian mitmdump mitmproxy
debian caddy caddy

if npm ls --silent >/dev/null 2>&1; then
	echo "peer present: mockttp"
elif ! command -v npm >/dev/null; then
	missing mockttp "no npm here, install Node.js 20 or newer"
elif npm install --ignore-scripts --no-package-lock --no-audit --no-fund >"$log" 2>&1; then
	echo "peer installed: mockttp"
else
	missing mockttp "npm install failed: $(grep -m 1 -E '^npm error .*(Error:|failed)' "$log" || tail -n 1 "$log")"
fi
exit 0
