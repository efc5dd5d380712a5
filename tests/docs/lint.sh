# The document by Redocly's linter: no error and no warning. A fault that is put in has to be found first.
# shellcheck shell=bash disable=SC2154
dir=$scratch/lint
mkdir -p "$dir"
# Nothing is told to anybody, nor asked.
lint() { env REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true "$npm/node_modules/.bin/redocly" lint --config "$here/redocly.yaml" --format=json "$1" 2>/dev/null; }

sed 's/operationId: getHealth$/operationId: getRoot/' "$home/docs/openapi.yaml" >"$dir/seeded.yaml"
lint "$dir/seeded.yaml" >"$dir/seeded.json" || true
like 'a fault is found' "$(jq -r '.problems[].ruleId' "$dir/seeded.json")" operation-operationId-unique

lint "$home/docs/openapi.yaml" >"$dir/found.json" || true
is 'docs/openapi.yaml: neither errors nor warnings' "$(jq -c '.totals' "$dir/found.json")" '{"errors":0,"warnings":0,"ignored":0}'
jq -r '.problems[] | "       \(.severity) \(.ruleId): \(.message) at \(.location[0].pointer)"' "$dir/found.json"

# What is installed is known by its hash, and from where is nobody's business but the machine's.
for file in "$here/package-lock.json" "$home/docs/ui/package-lock.json"; do
	is "${file#"$home"/}: a hash for each package, and no address" \
		"$(jq -c '[.packages | to_entries[] | select(.key != "") | .value] | [length > 0, all(has("integrity")), any(has("resolved"))]' "$file")" '[true,true,false]'
done
