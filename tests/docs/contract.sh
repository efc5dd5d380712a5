# Every operation is called. Python's jsonschema knows the dialect of OpenAPI 3.1.
# shellcheck shell=bash disable=SC2154
service limited RATE_LIMIT_PER_MINUTE=1 USER_RATE_LIMIT_PER_MINUTE=1 INSTANCES=1
limited=$base
service main RATE_LIMIT_PER_MINUTE=0 USER_RATE_LIMIT_PER_MINUTE=0 PIPELINES_DIR="$home/pipelines" SCHEDULE_INGEST=off
mkdir -p "$dir/data/raw"
printf 'id,value,category\n1,2.5,a\n2,x,b\n' >"$dir/data/raw/contract.csv"
# Runs that nobody works on, one for whichever user the caller will be.
{
	echo "INSERT INTO pipelines (id, name, created_us) VALUES (900, 'contract', 1);"
	for i in {1..20}; do
		printf "INSERT INTO data_runs (number, id, pipeline_id, user_id, source, definition, created_us) VALUES (%d, '01a1fbae-7d4e-7c3a-9a51-%012d', 900, %d, 'x', '{}', 1);\n" \
			$((900 + i)) "$i" "$i"
	done
} | change
admin=$(appcore key create --name admin --scope models --json | jq -r .key)
within 'the workers know the key' 30 key_answers "$admin" 201
tells env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$here/contract.py" "$home/build/web/openapi.json" "$scratch/tls/cert.pem" \
	"$base" "$key" "$admin" "$limited"
