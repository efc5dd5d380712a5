# Every operation is called. Python's jsonschema knows the dialect of OpenAPI 3.1.
# shellcheck shell=bash disable=SC2154
service limited RATE_LIMIT_PER_MINUTE=1 USER_RATE_LIMIT_PER_MINUTE=1 INSTANCES=1
limited=$base
service main RATE_LIMIT_PER_MINUTE=0 USER_RATE_LIMIT_PER_MINUTE=0
admin=$(appcore key create --name admin --scope models --json | jq -r .key)
within 'the workers know the key' 30 key_answers "$admin" 201
tells env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$here/contract.py" "$home/build/web/openapi.json" "$scratch/tls/cert.pem" \
	"$base" "$key" "$admin" "$limited"
