#!/usr/bin/env bash
# TLS as it is served, by testssl.sh: no finding above LOW, and HSTS; nginx as scripts/render_nginx.sh makes it, with a
# certificate of a test CA. And certificates that are no good: each is told by one sentence, and the former one is
# served on.
#
#   tls.sh [--whole]     --whole runs all of testssl's checks (some minutes); without it those that depend on our settings
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
home=$(cd "$here/../.." && pwd)
variant=release
binary=$home/build/$variant/appcore
whole=
topic=tls
[ "${1:-}" != --whole ] || whole=1

for tool in "$binary" curl jq openssl nginx spawn-fcgi; do
	command -v "$tool" >/dev/null || { echo "$tool is missing: run make deps all" >&2 && exit 100; }
done
testssl=$(command -v testssl testssl.sh | head -n 1) || { echo 'testssl.sh is missing: run make deps-deploy' >&2 && exit 100; }

scratch=$(mktemp -d "${TMPDIR:-/tmp}/appcore-tls.XXXXXX")
# shellcheck source=tests/e2e/lib.sh
. "$home/tests/e2e/lib.sh"
finish() {
	local code=$?
	trap - EXIT INT TERM
	stop_everything_left
	rm -rf "$scratch"
	exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

# --- a CA, and certificates of it -----------------------------------------------------------------------------------

ca=$scratch/ca
mkdir -p "$ca" "$scratch/tls"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=appcore test CA' \
	-addext 'keyUsage=critical,keyCertSign,cRLSign' -keyout "$ca/key.pem" -out "$ca/cert.pem" 2>/dev/null

# certificate NAME DAYS [KEY]: NAME.pem and NAME.key, or of the key that is there. An address of a revocation list, as a
# public CA has it; nobody asks it.
certificate() {
	local key=${3:-}
	if [ -z "$key" ]; then
		key=$ca/$1.key
		openssl ecparam -name prime256v1 -genkey -noout -out "$key"
	fi
	openssl req -new -key "$key" -subj /CN=localhost -out "$ca/$1.csr"
	openssl x509 -req -in "$ca/$1.csr" -CA "$ca/cert.pem" -CAkey "$ca/key.pem" -set_serial "0x$(openssl rand -hex 12)" \
		-days "$2" -out "$ca/$1.pem" -extfile <(
			printf '%s\n' 'basicConstraints=critical,CA:FALSE' 'keyUsage=critical,digitalSignature' 'extendedKeyUsage=serverAuth' \
				'subjectAltName=DNS:localhost,IP:127.0.0.1' 'crlDistributionPoints=URI:http://crl.example/ca.crl'
		) 2>/dev/null
}
certificate good 90
cp "$ca/good.pem" "$scratch/tls/cert.pem"
cp "$ca/good.key" "$scratch/tls/key.pem"

service main

# --- what testssl finds ---------------------------------------------------------------------------------------------

# Nothing is looked up and nobody else is asked. Severities above LOW, and warnings of tests that could not be done (but not
# for the Russian ciphers that nobody's OpenSSL has).
scan() { # FILE OPTIONS...
	local file=$1
	shift
	# A connection of its own that came to nothing on a busy machine is a warning: then it looks again.
	for _ in 1 2 3; do
		rm -f "$file"
		"$testssl" --warnings off --ip one --color 0 --quiet --add-ca "$ca/cert.pem" --jsonfile "$file" "$@" "$base" >"$file.out" 2>&1 || true
		findings "$file" 2>/dev/null | grep -q '^WARN .*connect problem' || break
	done
}
findings() { jq -r '.[] | select(.id != "engine_problem") | select(.severity | IN("MEDIUM", "HIGH", "CRITICAL", "FATAL", "WARN")) | "\(.severity) \(.id): \(.finding)"' "$1"; }
found() { jq -r --arg id "$2" 'first(.[] | select(.id | startswith($id)) | .finding) // "none"' "$1"; }

if [ -n "$whole" ]; then
	scan "$scratch/all.json"
else
	# Without the simulated clients, and the vulnerabilities of libraries that no setting of ours brings in.
	scan "$scratch/all.json" --protocols --server-defaults --server-preference --headers
fi
like 'testssl has looked' "$(jq length "$scratch/all.json" 2>/dev/null || tail -n 3 "$scratch/all.json.out")" '^[0-9]{2,}$'
is 'no finding above LOW' "$(findings "$scratch/all.json")" ''
is 'TLS 1.3 and 1.2, and no older one' "$(for v in TLS1_3 TLS1_2 TLS1_1 TLS1 SSLv3; do found "$scratch/all.json" "$v" | cut -d ' ' -f 1,2; done | paste -sd ,)" \
	'offered with,offered,not offered,not offered,not offered'
like 'HSTS for a year' "$(found "$scratch/all.json" HSTS_time)" '^365 days'
is 'the chain is trusted' "$(found "$scratch/all.json" cert_chain_of_trust)" 'passed.'
grade=$(found "$scratch/all.json" overall_grade)
if [ "$grade" = none ]; then
	echo "skip tls          the grade: $(basename "$testssl") of this Debian gives it only from version 3.1 on, after all its checks"
else
	like 'grade A or better' "$grade" '^A'
fi

# A fault that is put in has to be found.
sed -i 's/max-age=31536000/max-age=60/' "$dir/run/nginx/conf/nginx.conf"
kill -HUP "$(<"$dir/run/nginx/nginx.pid")"
short_memory() { curl -sS --cacert "$ca/cert.pem" -o /dev/null -D - "$base/livez" | grep -qi 'max-age=60;'; }
within 'a fault is put in' 10 short_memory
scan "$scratch/bad.json" --headers
like 'it is found' "$(findings "$scratch/bad.json")" 'MEDIUM HSTS'

# --- certificates that are no good ----------------------------------------------------------------------------------

control reload >/dev/null 2>&1 # our own settings again
served() { openssl s_client -connect "localhost:$https" -servername localhost </dev/null 2>/dev/null | openssl x509 -noout -serial; }
former=$(openssl x509 -in "$ca/good.pem" -noout -serial)
is 'the good one is served' "$(served)" "$former"

refused() { # NAME SENTENCE: a reload says so in one line and exit code 100, and the former certificate is served on
	local code=0 said
	said=$(control reload 2>&1) || code=$?
	like "$1: one sentence that says what to do" "$code $said" "^100 [^"$'\n'"]*$2[^"$'\n'"]*$"
	is "$1: the former one is served on" "$(served) $(curl -sS --cacert "$ca/cert.pem" -o /dev/null -w '%{http_code}' "$base/readyz")" "$former 200"
	cp "$ca/good.pem" "$scratch/tls/cert.pem"
	cp "$ca/good.key" "$scratch/tls/key.pem"
}

certificate expired -1 "$ca/good.key"
cp "$ca/expired.pem" "$scratch/tls/cert.pem"
refused expired 'has expired: renew it'

certificate other 90
cp "$ca/other.key" "$scratch/tls/key.pem"
refused "another's key" 'is not the key of .* put the pair there that belongs together'

rm "$scratch/tls/key.pem"
refused 'no key' 'add the other one'

rm "$scratch/tls/cert.pem"
refused 'no certificate' 'add the other one'

rm "$scratch/tls/cert.pem" "$scratch/tls/key.pem"
refused 'neither' 'are missing: put them back'

echo 'not a certificate' >"$scratch/tls/cert.pem"
refused 'no PEM' 'is no certificate: put one there in PEM form'

openssl pkey -in "$ca/good.key" -aes256 -passout pass:secret -out "$scratch/tls/key.pem"
refused 'a key with a passphrase' 'with a passphrase: put it there in PEM form, without one'

cat "$ca/cert.pem" "$ca/good.pem" >"$scratch/tls/cert.pem"
refused 'a chain in the wrong order' 'your own certificate first'

cp "$ca/other.pem" "$scratch/tls/cert.pem"
cp "$ca/other.key" "$scratch/tls/key.pem"
holds 'a renewed one' control reload
is 'it is served after a reload' "$(served)" "$(openssl x509 -in "$ca/other.pem" -noout -serial)"

# A start is not refused for its date: who does not look at the date is served.
control stop >/dev/null
cp "$ca/expired.pem" "$scratch/tls/cert.pem"
cp "$ca/good.key" "$scratch/tls/key.pem"
like 'a start with an expired one says so' "$(control start 2>&1)" 'has expired or does so within a day: renew it'
is 'and serves' "$(curl -sSk -o /dev/null -w '%{http_code}' "$base/readyz")" 200
control stop >/dev/null
cp "$ca/other.key" "$scratch/tls/key.pem"
code=0
said=$(control start 2>&1) || code=$?
like "a start with another's key is refused" "$code $said" '^100 [^'$'\n'']*is not the key of'

echo "tls: $passed passed, $failed failed ($SECONDS s)"
[ "$failed" -eq 0 ]
