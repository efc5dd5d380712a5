#!/usr/bin/env bash
# containers.sh [--dev]: the images and docker-compose.yml for real, on an engine that this script starts for itself and ends
# again: what is in the images, the service in containers (health, predictions, failover, tasks, metrics, Prometheus), what
# they may and see, and that nothing is left. --dev tries docker-compose.dev.yml, too: minutes more, for it compiles twice.
#
# The base image is made with mmdebstrap and kept in build/roots/. Wants root, docker.io, docker-compose and a network for
# Debian's mirror; without one of them, or beside another engine, it is skipped.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")/../.." && pwd)
cd "$here"

skip() {
	printf 'skipped: %s\ncontainers: 0 passed, 0 failed\n' "$*"
	exit 0
}

dev=
case ${1:-} in
--dev) dev=1 ;;
'') ;;
*) sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0" && exit 100 ;;
esac
[ "$(id -u)" -eq 0 ] || skip 'an engine for containers is started by root.'
export DOCKER=/usr/bin/docker
for tool in $DOCKER dockerd mmdebstrap jq curl iptables-save; do
	command -v "$tool" >/dev/null || skip "$tool is missing: run make deps-containers."
done
command -v docker-compose >/dev/null || $DOCKER compose version >/dev/null 2>&1 || skip 'docker-compose is missing: run make deps-containers.'
# Its rules and ours would be mixed up, and a service in containers here may be somebody's.
! grep -q '^:DOCKER' <<<"$(iptables-save 2>/dev/null)" || skip 'another engine has its rules on this machine.'
[ "$(df --output=avail -k "${TMPDIR:-/tmp}" | tail -n 1)" -gt 6000000 ] || skip "${TMPDIR:-/tmp} has not the 6 GB that images need."

passed=0 failed=0
ok() {
	passed=$((passed + 1))
	printf 'ok   %s\n' "$1"
}
not_ok() { # NAME DETAIL
	failed=$((failed + 1))
	printf 'FAIL %s\n       %.500s\n' "$1" "${2:-}"
}
is() { if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "is: $2 should: $3"; fi; }
like() { if [[ $2 =~ $3 ]]; then ok "$1"; else not_ok "$1" "is: $2 should match: $3"; fi; }
unlike() { if [[ $2 =~ $3 ]]; then not_ok "$1" "is: $2 should not match: $3"; else ok "$1"; fi; }
at_most() { if [ "$2" -le "$3" ]; then ok "$1 ($2)"; else not_ok "$1" "is $2, at most $3"; fi; }
within() { # NAME SECONDS COMMAND...
	local name=$1 until=$((SECONDS + $2))
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$until" ] || { not_ok "$name" "$* did not succeed in time" && return 0; }
		sleep 0.2
	done
	ok "$name"
}

# --- an engine of our own ---

folder=$(mktemp -d "${TMPDIR:-/tmp}/appcore-ct.XXXXXX")
engine=
load=
export DOCKER_HOST=unix://$folder/docker.sock COMPOSE_PROJECT_NAME=appcore-test DOCKER_CONFIG=$folder SECRETS_DIR=$folder/secrets
forwarding=$(cat /proc/sys/net/ipv4/ip_forward)
rules() { # COMMAND TABLE
	"$1-save" -t "$2" 2>/dev/null | grep -v '^#' | sed 's/ \[[0-9:]*\]$//' || true
}
remember_rules() {
	local command table
	for command in iptables ip6tables; do
		for table in filter nat; do rules "$command" "$table" >"$folder/$command.$table"; done
	done
}

# What has come since: rules first, then chains, then what the built-in chains do by default.
undo_rules() {
	local command table line new
	for command in iptables ip6tables; do
		for table in filter nat; do
			new=$(rules "$command" "$table" | grep -vxF -f "$folder/$command.$table" || true)
			while read -r line; do
				case $line in
				-A*) xargs -r "$command" -w -t "$table" <<<"-D${line#-A}" 2>/dev/null || true ;;
				esac
			done <<<"$new"
			while read -r line _; do
				case $line in
				:DOCKER*)
					"$command" -w -t "$table" -F "${line#:}" 2>/dev/null || true
					"$command" -w -t "$table" -X "${line#:}" 2>/dev/null || true
					;;
				esac
			done <<<"$new"
			if grep -q '^:FORWARD DROP' <<<"$new"; then "$command" -w -t "$table" -P FORWARD ACCEPT; fi
		done
	done
}

# shellcheck disable=SC2317  # called by the trap
finish() {
	local code=$? mounted
	trap - EXIT INT TERM
	[ -z "$load" ] || kill "$load" 2>/dev/null || true
	[ -z "$engine" ] || $DOCKER rm -fv second second_nginx >/dev/null 2>&1 || true
	if [ -n "$engine" ]; then
		scripts/containers.sh down --volumes >/dev/null 2>&1 || true
		[ -z "$dev" ] || dev_compose down --volumes >/dev/null 2>&1 || true
		kill -TERM "$engine" 2>/dev/null || true
		wait "$engine" 2>/dev/null || true
		undo_rules
		ip link delete docker0 2>/dev/null || true
		printf '%s\n' "$forwarding" >/proc/sys/net/ipv4/ip_forward 2>/dev/null || true
	fi
	while read -r _ mounted _; do
		case $mounted in "$folder"/*) umount -l "$mounted" 2>/dev/null || true ;; esac
	done </proc/mounts
	rm -rf "$folder"
	exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

remember_rules
dockerd --host "$DOCKER_HOST" --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" >"$folder/dockerd.log" 2>&1 </dev/null &
engine=$!
for _ in {1..150}; do
	$DOCKER version >/dev/null 2>&1 && break
	kill -0 "$engine" 2>/dev/null || skip "no engine starts here: $(tail -n 1 "$folder/dockerd.log")"
	sleep 0.2
done
$DOCKER version >/dev/null 2>&1 || skip "no engine answers here: $(tail -n 1 "$folder/dockerd.log")"

# --- images ---

base=build/roots/containers-trixie.tar
mkdir -p build/roots
exec 9>"$base.lock"
flock 9
if [ ! -s "$base" ]; then
	mmdebstrap --quiet --variant=minbase --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' trixie "$base.new.tar" 2>"$folder/base.log" ||
		skip "Debian 13 can't be had: $(tail -n 1 "$folder/base.log")"
	mv "$base.new.tar" "$base"
fi
exec 9>&-
$DOCKER import "$base" debian:trixie-slim >/dev/null
revision=$(git rev-parse HEAD)
[ -z "$(git status --porcelain)" ] || revision+=-changed
export REVISION=$revision
started=$SECONDS
if scripts/containers.sh build >"$folder/build.log" 2>&1; then
	ok "the images build ($((SECONDS - started)) s)"
else
	not_ok 'the images build' "$(tail -n 3 "$folder/build.log")"
	printf 'containers: %d passed, %d failed\n' "$passed" "$failed"
	exit 1
fi
image=appcore:$revision
show() { $DOCKER image inspect -f "$2" "$1"; }
is 'the image is tagged by the git SHA (X-46)' "$($DOCKER images -q "$image" | wc -l)" 1
unlike 'nothing is called latest' "$($DOCKER images --format '{{.Tag}}')" latest
is 'and says which revision it is' "$(show "$image" '{{index .Config.Labels "org.opencontainers.image.revision"}}')" "$revision"
is 'its user is appuser (A-127)' "$(show "$image" '{{.Config.User}}')" 10001:10001
like 'its health is checked every 30 s (A-128)' "$(show "$image" '{{json .Config.Healthcheck}}')" 'appcore.*check.*--live.*30000000000.*5000000000.*10000000000.*3'
container=$($DOCKER create "$image")
$DOCKER export "$container" >"$folder/image.tar"
$DOCKER cp "$container:/usr/share/appcore/sbom.cdx.json" "$folder/sbom.json"
$DOCKER rm "$container" >/dev/null
tar tf "$folder/image.tar" >"$folder/files"
at_most 'it has less than 30 MB (A-134)' "$(tar tvf "$folder/image.tar" | awk '$1 ~ /^-/ { n += $3 } END { print n }')" 29999999
at_most 'and less than 15 MB compressed' "$(gzip -c "$folder/image.tar" | wc -c)" 14999999
is 'no compiler, no shell, no package manager (A-126)' "$(grep -E '(^|/)(gcc|cc|tcc|clang|as|ld|make|sh|bash|dash|busybox|apt|apt-get|dpkg|perl|python3)$' "$folder/files" || true)" ''
is 'no sources, no git, no tests (A-135)' "$(grep -E '\.git|\.[ch]$|^src|tests/|\.env' "$folder/files" || true)" ''
like 'it has converters of text and certificates' "$(cat "$folder/files")" 'ca-certificates.crt.*gconv/GB18030.so'
is 'SBOM: CycloneDX of this revision' "$(jq -r '[.bomFormat, .specVersion, .metadata.component.properties[0].value] | join(" ")' "$folder/sbom.json")" "CycloneDX 1.5 $revision"
jq -r '.components[].components[].name' "$folder/sbom.json" | sed 's|^/||' | sort >"$folder/known"
is 'SBOM: each library is in it' "$(grep -E '\.so(\.|$)|^usr/bin/spawn-fcgi' "$folder/files" | sort | comm -23 - "$folder/known")" ''
is 'SBOM: no package without a version' "$(jq '[.components[] | select((.version // "") == "" or (.purl | startswith("pkg:deb/debian/") | not))] | length' "$folder/sbom.json")" 0
id=$(show "$image" '{{.Id}}')
scripts/containers.sh build appcore >"$folder/again.log" 2>&1 || true
is 'a second build changes nothing' "$(show "$image" '{{.Id}}')" "$id"
like 'the dependencies come from the cache' "$(cat "$folder/again.log")" 'Using cache|CACHED'
cat >"$folder/p.json" <<'JSON'
{"name":"p","source":{"format":"csv","match":"p*.csv","encoding":"gb18030"},"fields":[{"name":"word","type":"text","required":true}]}
JSON
printf 'word\n\xc4\xe3\xba\xc3\n' >"$folder/p.csv"
chmod 755 "$folder" && chmod 644 "$folder/p.json" "$folder/p.csv"
like 'a converter works in it' "$($DOCKER run --rm --read-only --network none -e ENVIRONMENT=development -v "$folder/p.json:/t/p.json:ro" -v "$folder/p.csv:/t/p.csv:ro" "$image" appcore pipeline try /t/p.json /t/p.csv 2>&1)" $'\xe4\xbd\xa0\xe5\xa5\xbd|\\\\u4f60'

# --- the service ---

port=$((20000 + RANDOM % 8000))
next_port() { # $port: each time another one
	port=$((port + 1))
	while grep -qi ":$(printf '%04X' "$port") " /proc/net/tcp /proc/net/tcp6; do port=$((port + 1)); done
}
for name in HTTP_PORT HTTPS_PORT DIRECT_PORT API1_PORT API2_PORT PROMETHEUS_PORT ALERTMANAGER_PORT; do
	next_port
	printf -v "$name" '%s' "$port"
	export "${name?}"
done
export HEALTH_INTERVAL=2s NOFILE=4096 PREDICTIONS_READ=open RATE_LIMIT_PER_MINUTE=0
pool=http://127.0.0.1:$DIRECT_PORT
status() { curl -sk -m 20 -o /dev/null -w '%{http_code}' "$@"; }
compose() { scripts/containers.sh compose "$@"; }
started=$SECONDS
if scripts/containers.sh up >"$folder/up.log" 2>&1; then
	ok "compose up ($((SECONDS - started)) s)"
else
	not_ok 'compose up' "$(tail -n 5 "$folder/up.log"; compose logs --tail 5 2>&1 | tail -n 20)"
fi
key=$(cat "$folder/secrets/api_key" 2>/dev/null || true)
is 'secrets are in a folder for their owner alone' "$(stat -c %a "$folder/secrets")" 700
names=(sentiment_api1 sentiment_api2 sentiment_nginx sentiment_celery_worker)
health() { $DOCKER inspect -f '{{.State.Health.Status}}' "$1"; }
is_healthy() { [ "$(health "$1")" = healthy ]; }
for name in "${names[@]}"; do within "$name is healthy (B-016)" 90 is_healthy "$name"; done
is 'health on the direct port (A-129)' "$(status "$pool/health")" 200
like 'it is this version' "$($DOCKER exec sentiment_api1 appcore version)" "${revision:0:12}"
is 'which it tells' "$(status "$pool/version")" 200
predict() { status "$1/predict" -H "X-API-Key: $key" -H 'Content-Type: application/json' -d '{"features":[1,2,3]}'; }
is 'a prediction with the key' "$(predict "$pool")" 201
is 'none without' "$(status "$pool/predict" -H 'Content-Type: application/json' -d '{"features":[1]}')" 401
is 'over HTTPS' "$(predict "https://127.0.0.1:$HTTPS_PORT")" 201
is 'clear HTTP goes there (B-029)' "$(status "http://127.0.0.1:$HTTP_PORT/predict")" 301
is 'each instance by itself (B-020)' "$(status "http://127.0.0.1:$API1_PORT/health") $(status "http://127.0.0.1:$API2_PORT/health")" '200 200'
like 'what was predicted is kept' "$(curl -s "$pool/predictions")" '"features"'
workers() { curl -s "$pool/metrics" | sed -n 's/^appcore_workers //p'; }
both() { [ "$(workers)" = 2.0 ]; }
within 'both instances know of each other across their PID namespaces' 30 both
wrong=$(API_KEY=$key scripts/verify.sh --quick "$pool" 2>&1 | grep '^✗' | grep -vE 'hook|git tags|No secrets in source|Packages are' || true)
is "the contract's checks" "$wrong" ''

# --- what they may, and what can be seen ---

inspect() { $DOCKER inspect -f "$1" "${names[@]}" sentiment_prometheus sentiment_alertmanager | sort -u; }
is 'their roots are read-only' "$(inspect '{{.HostConfig.ReadonlyRootfs}}')" true
is 'they have no capabilities' "$(inspect '{{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}} {{.HostConfig.Privileged}}')" '[ALL] [] false'
is 'nor get new privileges' "$(inspect '{{.HostConfig.SecurityOpt}}')" '[no-new-privileges:true]'
is 'they restart unless stopped (A-130)' "$(inspect '{{.HostConfig.RestartPolicy.Name}}')" unless-stopped
is 'all have limits' "$(inspect '{{if and .HostConfig.Memory .HostConfig.PidsLimit}}yes{{else}}no{{end}}')" yes
users=$(for name in "${names[@]}" sentiment_prometheus sentiment_alertmanager; do $DOCKER top "$name" -eo pid,uid | awk 'NR > 1 { print $2 }'; done | sort -nu | xargs)
is 'nobody is root (A-127)' "$users" '33 10001 65534'
like 'a root can not be written' "$($DOCKER exec sentiment_nginx touch /usr/share/x 2>&1 || true)" 'Read-only'
postgres_password=$(cat "$folder/secrets/postgres_password")
secret_key=$(cat "$folder/secrets/secret_key")
is 'no secret is in what inspect or history tell' "$({ $DOCKER inspect "${names[@]}" && $DOCKER history --no-trunc "$image"; } | grep -cF -e "$key" -e "$secret_key" -e "$postgres_password" || true)" 0
is 'nor in their logs' "$(compose logs 2>&1 | grep -cF -e "$key" -e "$secret_key" || true)" 0
is 'the networks behind are private' "$($DOCKER network inspect -f '{{.Internal}}' sentiment_network sentiment_monitoring | sort -u)" true
is 'instances have no way out' "$($DOCKER inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}{{len .HostConfig.PortBindings}}' sentiment_api1)" 'sentiment_network 0'

# --- what goes wrong ---

answers() { while :; do predict "$pool" && echo; done >"$folder/answers" 2>/dev/null; }
answers &
load=$!
sleep 1
$DOCKER stop sentiment_api2 >/dev/null
is 'an instance that is stopped by name drains' "$($DOCKER inspect -f '{{.State.ExitCode}}' sentiment_api2)" 0
is 'it is gone' "$(status "http://127.0.0.1:$API2_PORT/health")" 502
is 'the other one serves' "$(predict "$pool")" 201
$DOCKER start sentiment_api2 >/dev/null
within 'it comes back' 60 is_healthy sentiment_api2
restarts() { $DOCKER inspect -f '{{.RestartCount}}' sentiment_api1; }
kill -KILL "$($DOCKER inspect -f '{{.State.Pid}}' sentiment_api1)"
restarted() { [ "$(restarts)" -ge 1 ] && is_healthy sentiment_api1; }
within 'one that dies is started again (B-024)' 60 restarted
sleep 1
kill "$load" 2>/dev/null || true
wait "$load" 2>/dev/null || true
load=
is "no request failed meanwhile ($(wc -l <"$folder/answers"))" "$(head -n -1 "$folder/answers" | sort | uniq -c | grep -v ' 201$' || true)" ''
within 'both instances serve' 30 both

task=$($DOCKER exec sentiment_celery_worker appcore task add echo --payload 1)
is_done() { $DOCKER exec sentiment_celery_worker appcore task show "$task" | grep -q '"status": *"completed"'; }
within 'the worker does a task (B-022)' 60 is_done

# --- monitoring ---

prometheus=http://127.0.0.1:$PROMETHEUS_PORT
target() { [ "$(curl -s "$prometheus/api/v1/targets" | jq -r '.data.activeTargets[] | .labels.job + " " + .health')" = 'practical-production-service up' ]; }
within 'Prometheus scrapes it' 60 target
is 'its rules are loaded' "$(($(curl -s "$prometheus/api/v1/rules" | jq '.data.groups | length') > 0))" 1
like 'Alertmanager is ready' "$(curl -s "http://127.0.0.1:$ALERTMANAGER_PORT/-/ready")" OK
knows() { curl -s "$prometheus/api/v1/alertmanagers" | grep -q alertmanager:9093; }
within 'and Prometheus knows it' 60 knows

# --- and down again ---

gone() { # NAME
	scripts/containers.sh down --volumes >"$folder/down.log" 2>&1 || not_ok 'compose down' "$(tail -n 3 "$folder/down.log")"
	is "$1" "$($DOCKER ps -aq)$($DOCKER volume ls -q)$($DOCKER network ls --format '{{.Name}}' | grep -vxE 'bridge|host|none' || true)" ''
}
gone 'nothing is left (A-136)'

# --- with PostgreSQL and Redis: predictions outlive all containers, and limits are everybody's ---

export WITH=postgres,redis RATE_LIMIT_PER_MINUTE=20
up_with() { # NAME: what serves, without monitoring; migrating waits for a database for ever
	local started=$SECONDS
	if timeout 400 scripts/containers.sh up sentiment_db sentiment_redis sentiment_nginx >"$folder/up.log" 2>&1; then
		ok "$1 ($((SECONDS - started)) s)"
	else
		not_ok "$1" "$(tail -n 5 "$folder/up.log"; compose logs --tail 5 2>&1 | tail -n 20)"
	fi
}
kept() { [ "$(status "$pool/predictions/$id")" = 200 ]; }

up_with 'compose up with PostgreSQL and Redis'
for name in sentiment_db sentiment_redis sentiment_nginx; do within "$name is healthy" 90 is_healthy "$name"; done
inspect() { $DOCKER inspect -f '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{len .HostConfig.PortBindings}}{{range $name, $_ := .NetworkSettings.Networks}} {{$name}}{{end}}' "$@" | sort -u; }
is 'both are as closed as the rest' "$(inspect sentiment_db sentiment_redis)" 'true [ALL] [no-new-privileges:true] 0 sentiment_network'
is 'and nobody in them is root' "$(for name in sentiment_db sentiment_redis; do $DOCKER top "$name" -eo pid,uid | awk 'NR > 1 && $2 == 0'; done)" ''
id=$(curl -s -m 20 "$pool/predict" -H "X-API-Key: $key" -H 'Content-Type: application/json' -d '{"features":[1,2,3]}' | jq -r .prediction_id || true)
like 'a prediction' "$id" '^[0-9a-f-]{36}$'
is 'it is in PostgreSQL' "$($DOCKER exec sentiment_db psql -qAt -U appcore -c "SELECT count(*) FROM predictions WHERE id = '$id'" 2>&1 || true)" 1
unlike 'and no other database is there' "$($DOCKER exec sentiment_nginx ls -A /var/lib/appcore)" predictions.db

# Another machine, as far as limits go: the two instances above have memory in common, this one has not.
next_port
SECOND_PORT=$port
second=http://127.0.0.1:$SECOND_PORT
settings() { $DOCKER inspect -f '{{range .Config.Env}}{{println .}}{{end}}' "$1" | sed '/^$/d' >"$folder/$1.env"; }
settings sentiment_api1
settings sentiment_nginx
{
	$DOCKER run -d --name second --network sentiment_network --volumes-from sentiment_api1 -v second:/run/appcore --env-file "$folder/sentiment_api1.env" "$image"
	$DOCKER run -d --name second_nginx --network sentiment_front --volumes-from sentiment_nginx -v second:/run/appcore:ro \
		--tmpfs /run/nginx:size=64m,mode=0755,uid=33,gid=10001 -p "127.0.0.1:$SECOND_PORT:8000" --env-file "$folder/sentiment_nginx.env" "appcore-nginx:$revision"
} >"$folder/second.log" 2>&1 || not_ok 'a second machine starts' "$(tail -n 3 "$folder/second.log")"
lives() { [ "$(status "$1/livez")" = 200 ]; }
within 'a second machine serves' 90 lives "$second"
# The first is asked until it refuses, then the second once. Ten times at most: alone it would refuse after twenty.
limited() {
	local _
	for _ in {1..25}; do
		[ "$(predict "$pool")" != 429 ] || break
	done
	[ "$(predict "$second")" = 429 ]
}
tries=1
until limited || [ "$tries" -ge 10 ]; do
	tries=$((tries + 1))
	sleep 1
done
at_most 'what one machine has counted the other one refuses; tries' "$tries" 9
like 'for it is in Redis' "$($DOCKER exec sentiment_redis redis-cli --scan --pattern 'limit:*' 2>&1 || true)" 'limit:'
$DOCKER rm -fv second second_nginx >/dev/null 2>&1 || true
$DOCKER volume rm second >/dev/null 2>&1 || true

scripts/containers.sh down >"$folder/down.log" 2>&1 || not_ok 'compose down' "$(tail -n 3 "$folder/down.log")"
is 'no container is left' "$($DOCKER ps -aq)" ''
up_with 'and up again'
within 'the prediction is still there' 90 kept
gone 'nothing is left of these either'
unset WITH RATE_LIMIT_PER_MINUTE

# --- development: a source changes, and the service is another one (E-020) ---

dev_compose() {
	if command -v docker-compose >/dev/null; then docker-compose -f "$folder/src/docker-compose.dev.yml" "$@"; else $DOCKER compose -f "$folder/src/docker-compose.dev.yml" "$@"; fi
}
if [ -n "$dev" ]; then
	mkdir "$folder/src"
	git archive HEAD | tar x -C "$folder/src"
	dev_compose up -d --build >"$folder/dev.log" 2>&1 || not_ok 'the stack for development starts' "$(tail -n 3 "$folder/dev.log")"
	serves() { [ "$(status "$pool/health")" = 200 ]; }
	within 'the stack for development builds and serves (E-020)' 600 serves
	source=$folder/src/fcgi-app/handlers/health.c
	like 'it says what its source does' "$(curl -s "$pool/livez")" alive
	sed -i 's/\\"alive\\"/\\"awake\\"/' "$source"
	is_new() { curl -s "$pool/livez" | grep -q awake; }
	within 'a source that changes is built, and serves' 600 is_new
	echo 'int broken(' >>"$source"
	is_told() { dev_compose logs 2>&1 | grep -q 'It does not build'; }
	within 'one that does not build is told' 600 is_told
	like 'and the former one serves' "$(curl -s "$pool/livez")" awake
	dev_compose down --volumes >/dev/null 2>&1 || true
fi

printf 'containers: %d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
