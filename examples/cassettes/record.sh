#!/bin/sh
# Records the cassettes again: for each scenario its real server and client, and
# wstape proxy between them.
#
#   sh examples/cassettes/record.sh [SCENARIO…]
#
# WSTAPE, WSTAPE_PYTHON and WSTAPE_NODE say which programs to use.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
wstape=${WSTAPE:-wstape}
python=${WSTAPE_PYTHON:-/usr/bin/python3}
node=${WSTAPE_NODE:-node}

command -v "$wstape" >/dev/null || {
	echo "record.sh: no $wstape here, say WSTAPE=/path/to/wstape" >&2
	exit 2
}

dir=$(mktemp -d)
server_pid='' proxy_pid=''
stop() {
	for pid in $proxy_pid $server_pid; do
		{ kill "$pid" && wait "$pid"; } 2>/dev/null || true
	done
	server_pid='' proxy_pid=''
}
trap 'stop; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

# until_holds COMMAND…: tries again for 10 seconds.
until_holds() {
	for _ in $(seq 100); do
		if "$@"; then return; fi
		sleep 0.1
	done
	echo "record.sh: waited in vain for: $*" >&2
	exit 1
}

interpreter() {
	case $1 in
	*.py) echo "$python" ;;
	*) echo "$node" ;;
	esac
}

# client PROGRAM FLAGS…: runs it against the proxy.
client() {
	program=$1
	shift
	"$(interpreter "$program")" "$here/programs/$program" "$url" "$@"
}

all_closed() { ! "$wstape" ls --json --tape "$tape" | grep -q '"state":"open"'; }

# record NAME SERVER CLIENT…: the client is a command that uses client.
record() {
	name=$1 server=$2
	shift 2
	echo "$name"
	tape=$dir/$name.db addr=$dir/$name.json said=$dir/$name.server
	"$(interpreter "$server")" "$here/programs/$server" >"$said" &
	server_pid=$!
	until_holds grep -q '^listening ' "$said"
	"$wstape" proxy "ws://127.0.0.1:$(sed -n 's/^listening //p' "$said")" \
		--listen 127.0.0.1:0 --addr-file "$addr" --tape "$tape" --quiet 2>"$dir/$name.proxy" &
	proxy_pid=$!
	until_holds test -s "$addr"
	url=ws://$(sed 's/.*"listen":"\([^"]*\)".*/\1/' "$addr")
	"$@" >"$dir/$name.client"
	until_holds all_closed
	stop
	# shellcheck disable=SC2046 # one word for each session
	"$wstape" export $("$wstape" ls --json --tape "$tape" | sed 's/^{"n":\([0-9]*\),.*/\1/') \
		--tape "$tape" --out "$here/$name.cassette.jsonl"
}

# two_clients: alice is there before bob comes, so that hers is the first session.
two_clients() {
	client chat-client.py --user alice >"$dir/alice" &
	alice=$!
	until_holds grep -q joined "$dir/alice"
	client chat-client.py --user bob
	wait "$alice"
}

scenario() {
	case $1 in
	chat) record chat chat-server.py two_clients ;;
	ticker) record ticker ticker-server.py client ticker-client.py ;;
	graphql-ws) record graphql-ws graphql-ws-server.mjs client graphql-ws-client.mjs ;;
	socketio) record socketio socketio-server.mjs client socketio-client.mjs ;;
	realtime) record realtime realtime-server.mjs client realtime-client.mjs ;;
	jsonrpc) record jsonrpc jsonrpc-server.mjs client jsonrpc-client.py ;;
	login) record login login-server.py client login-client.py ;;
	*)
		echo "record.sh: no scenario $1" >&2
		exit 2
		;;
	esac
}

[ $# -gt 0 ] || set -- chat ticker graphql-ws socketio realtime jsonrpc login
for name; do scenario "$name"; done
