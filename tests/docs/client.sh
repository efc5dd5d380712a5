# A client that Hey API's generator makes from the document: it compiles without an error, and works.
# shellcheck shell=bash disable=SC2154
service main
work=$dir/client
mkdir -p "$work"
cp "$here"/client/* "$work/"
holds 'the client is generated' "$npm/node_modules/.bin/openapi-ts" --no-log-file --silent -i "$home/build/web/openapi.json" -o "$work/generated" -c @hey-api/client-fetch

compile() { "$npm/node_modules/.bin/tsc" -p "$work/tsconfig.json"; }
# What the document does not have must not compile.
printf "import { analyze } from './generated';\nvoid analyze({ body: { txt: 'x' } });\n" >"$work/wrong.ts"
like 'a wrong call does not compile' "$(compile 2>&1 || true)" "wrong.ts.*'txt' does not exist"
rm "$work/wrong.ts"
holds 'it compiles' compile

tells env BASE_URL="$base" API_KEY="$key" NODE_EXTRA_CA_CERTS="$scratch/tls/cert.pem" node "$work/out/smoke.js"
