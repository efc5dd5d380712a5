#!/usr/bin/env bash
# verify.sh [--quick] [URL]: the checks of the contract's list against this checkout and a started service (default
# http://localhost:8000). --quick leaves out `make test` and `make lint`. The key is API_KEY, else the one in .env.
# Prints a line for each check; 1 when any has failed.
set -u
cd "$(dirname "$0")/.." || exit 111

quick=
url=http://localhost:8000
for argument in "$@"; do
	case $argument in
	--quick) quick=1 ;;
	http://* | https://*) url=${argument%/} ;;
	*)
		sed -n '2,4s/^# //p' "$0"
		exit 100
		;;
	esac
done
key=${API_KEY:-$(sed -n 's/^API_KEY=//p' .env 2>/dev/null | tail -n 1)}
binary=${APPCORE_BIN:-build/release/appcore}
port=${url##*:}
port=${port%%/*}
passed=0
failed=0

check() { # NAME COMMAND...
	local name=$1
	shift
	if "$@" >/dev/null 2>&1; then
		echo "✓ $name"
		passed=$((passed + 1))
	else
		echo "✗ $name"
		failed=$((failed + 1))
	fi
}

skip() { echo "- $1 (skipped: $2)"; }

call() { curl -s -k -m 10 "$@"; }
succeeds() { call -f -o /dev/null "$url$1"; }
has() { call -f "$url$1" | grep -q -- "$2"; }
has_header() { call -o /dev/null -D - "$url$1" | grep -qi -- "^$2:"; }
some_file() { compgen -G "$1"; }
listens() { awk -v p="$(printf ':%04X' "$1")" '$4 == "0A" && index($2, p) { f = 1 } END { exit !f }' /proc/net/tcp /proc/net/tcp6; }
can_tell_port() { [[ $port =~ ^[0-9]+$ ]]; }
has_tags() { git tag -l 'v*' | grep -q .; }
packages_installed() { make -s deps-run CHECK=--check; }
no_secrets() { # literal values of secrets in the source
	! grep -rnEi '(password|secret|api_key)[a-z_]*(\[\])? *= *"[^"]{4,}"|"ak_[A-Za-z0-9_-]{16,}"' lib fcgi-app --include='*.[ch]'
}
predict() { # STATUS BODY [HEADER]
	local status
	status=$(call -o /dev/null -w '%{http_code}' -X POST "$url/predict" -H 'Content-Type: application/json' ${3:+-H "$3"} -d "$2")
	[ "$status" = "$1" ]
}

check 'Makefile exists' test -f Makefile
check 'Package lists exist' grep -q '^RUNTIME_PACKAGES' Makefile
check 'Packages are installed' packages_installed
check 'Source layout correct' test -f lib/base/version.h
check 'The program starts' "$binary" --version
check 'Compiler is there' command -v gcc
if can_tell_port; then check "Port $port listens" listens "$port"; else skip 'Port listens' 'no port in the URL'; fi
check 'Routes module exists' test -f fcgi-app/routes.c
check 'JSON module exists' test -f lib/base/json.c
check 'Service module exists' test -f fcgi-app/serve.c
check 'Test files exist' some_file 'tests/unit/test_*.c'
if [ -n "$quick" ]; then
	skip 'Tests pass' --quick
	skip 'Linting passes' --quick
else
	check 'Tests pass' make test
	check 'Linting passes' make lint
fi
check 'systemd units exist' some_file 'systemd/appcore@.service'
check 'systemd target exists' test -f systemd/appcore.target
check 'Release builds' make all
check 'CI script exists' test -x .ci/run
check 'Metrics module exists' test -f lib/shared/metrics.c
check 'Git repo initialized' git rev-parse --git-dir
check 'Pre-commit hook exists' test -x "$(git rev-parse --git-path hooks)/pre-commit"
check '.gitignore exists' test -f .gitignore
check 'Has git tags' has_tags
check 'Database module exists' some_file 'lib/store/db*.c'
check 'Predictions module exists' some_file 'lib/store/predictions*.c'
check 'Auth module exists' some_file 'lib/auth/*.c'
check 'Rate limiter exists' test -f lib/shared/limit.c
check '.env.example exists' test -f .env.example
check 'No secrets in source' no_secrets
check 'Health check script exists' test -x scripts/health_check.sh
check 'nginx templates exist' test -f nginx/nginx.conf.in
check 'GET /health returns 200' succeeds /health
check 'GET /version returns 200' succeeds /version
check 'POST /predict returns 201' predict 201 '{"features": [1.0, 2.0]}' "X-API-Key: $key"
check 'POST /predict without API key returns 401' predict 401 '{"features": [1.0]}'
check 'GET /metrics returns Prometheus format' has /metrics http_requests_total
check 'GET /predictions returns list' has /predictions '^\['
check 'Invalid request returns 422' predict 422 '{"features": []}' "X-API-Key: $key"
check 'nginx health endpoint works' has /nginx-health '^OK$'
check 'Security headers present' has_header /health X-Content-Type-Options

echo
echo "Results: $passed passed, $failed failed"
[ "$failed" -eq 0 ] || exit 1
echo 'All checks passed.'
