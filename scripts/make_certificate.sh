#!/usr/bin/env bash
# make_certificate.sh CERTIFICATE KEY [--reload]: a self-signed certificate for localhost, when there is none. One that this script
# made is renewed a day before it expires; it is known by its digest in CERTIFICATE.selfsigned. Anybody else's is left alone,
# but has to be readable, and to fit its key: 100 when it is not. One that has expired is told, and used: most clients refuse
# it, and a service that does not start would help nobody. With --reload a certificate is being served already: then one that
# has expired, and none at all, are refused, so that the former one goes on.
set -euo pipefail
umask 077

certificate=$1
key=$2
reload=${3:-}
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

fail() {
	printf '%s\n' "$*" >&2
	exit 100
}

check_pair() {
	local file of_certificate of_key
	for file in "$certificate" "$key"; do
		[ -r "$file" ] || fail "$file cannot be read by $(id -un): chgrp $(id -un) $file && chmod 640 $file"
	done
	of_certificate=$(openssl x509 -in "$certificate" -noout -pubkey 2>/dev/null) ||
		fail "$certificate is no certificate: put one there in PEM form, those of its CA behind it."
	of_key=$(openssl pkey -in "$key" -passin pass: -pubout 2>/dev/null) ||
		fail "$key is no key, or one with a passphrase: put it there in PEM form, without one."
	[ "$of_certificate" = "$of_key" ] || fail "$key is not the key of $certificate: put the pair there that belongs together, your own certificate first."
}

if [ ! -e "$certificate" ] && [ ! -e "$key" ]; then
	[ -z "$reload" ] || fail "$certificate and $key are missing: put them back, or start the service anew to have a pair made."
	make_one
elif [ ! -e "$certificate" ] || [ ! -e "$key" ]; then
	printf 'Only one of %s and %s is there: add the other one, or remove it to have a pair made.\n' "$certificate" "$key" >&2
	exit 100
else
	check_pair
	if expires_soon && is_ours; then
		make_one
	elif expires_soon && [ -n "$reload" ] && ! openssl x509 -in "$certificate" -noout -checkend 0 >/dev/null 2>&1; then
		fail "The certificate $certificate has expired: renew it. The one from before is served on."
	elif expires_soon; then
		printf 'The certificate %s has expired or does so within a day: renew it.\n' "$certificate" >&2
	fi
fi
