#!/bin/sh
# Has k6 and Artillery run what wstape exports for them, against a real server. They
# are large, so this is no part of make test. They are installed into a scratch
# folder that is kept ($WSTAPE_BRIDGES), and not again if they are there.
set -eu
cd "$(dirname "$0")/../.."

to=${WSTAPE_BRIDGES:-${XDG_CACHE_HOME:-$HOME/.cache}/wstape-bridges}
k6=go.k6.io/k6@v1.8.1
artillery=artillery@2.0.20 # the last that runs on Node.js 20
typescript=typescript@5.6.3 # what its command line was made with
mkdir -p "$to/artillery"

[ -x "$to/k6" ] || GOBIN=$to go install "$k6"
if [ ! -x "$to/artillery/node_modules/.bin/artillery" ]; then
	[ -f "$to/artillery/package.json" ] || echo '{"private":true}' >"$to/artillery/package.json"
	(cd "$to/artillery" && npm install --no-audit --no-fund --ignore-scripts "$artillery" "$typescript")
fi

WSTAPE_K6=$to/k6 WSTAPE_ARTILLERY=$to/artillery/node_modules/.bin/artillery exec go test -count 1 -v -run '^TestLoadTools$' ./e2e
