#!/usr/bin/env bash
# make_certificate.sh CERTIFICATE KEY: a self-signed certificate for localhost, when there is none. One that this script
# made is renewed a day before it expires; it is known by its digest in CERTIFICATE.selfsigned. Anybody else's is left alone.
set -euo pipefail
umask 077

certificate=$1
key=$2
mark=$certificate.selfsigned

expires_soon() { ! openssl x509 -in "$certificate" -noout -checkend 86400 >/dev/null 2>&1; }
is_ours() { [ -e "$mark" ] && [ "$(sha256sum <"$certificate")" = "$(cat "$mark")" ]; }

make_one() {
	local folder output
	mkdir -p "$(dirname "$certificate")" "$(dirname "$key")"
	folder=$(mktemp -d "$(dirname "$key")/.new.XXXXXX")
	# shellcheck disable=SC2064  # the folder of now
	trap "rm -rf $(printf %q "$folder")" EXIT
	if ! output=$(openssl req -x509 -newkey rsa:2048 -sha256 -nodes -days 365 -subj /CN=localhost \
		-addext 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1' \
		-addext 'basicConstraints=critical,CA:FALSE' -addext 'extendedKeyUsage=serverAuth' \
		-keyout "$folder/key.pem" -out "$folder/cert.pem" 2>&1); then
		printf 'No certificate could be made: %s\n' "$output" >&2
		exit 111
	fi
	chmod 600 "$folder/key.pem"
	chmod 644 "$folder/cert.pem"
	sha256sum <"$folder/cert.pem" >"$mark"
	mv -f "$folder/key.pem" "$key"
	mv -f "$folder/cert.pem" "$certificate"
}

if [ ! -e "$certificate" ] && [ ! -e "$key" ]; then
	make_one
elif [ ! -e "$certificate" ] || [ ! -e "$key" ]; then
	printf 'Only one of %s and %s is there: add the other one, or remove it to have a pair made.\n' "$certificate" "$key" >&2
	exit 100
elif expires_soon; then
	if is_ours; then
		make_one
	else
		printf 'The certificate %s has expired or does so within a day: renew it.\n' "$certificate" >&2
	fi
fi
