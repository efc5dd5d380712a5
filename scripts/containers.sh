#!/usr/bin/env bash
# containers.sh: appcore in containers (docker-compose.yml), from this checkout.
#
#   containers.sh build [TARGET...]   the images, tagged with the git SHA (default: appcore nginx prometheus alertmanager)
#   containers.sh secrets             makes what is missing of secrets/ (SECRETS_DIR), with random values
#   containers.sh up [SERVICE...]     both, then starts everything and waits until nginx is healthy
#   containers.sh down [--volumes]    stops and removes the containers; with --volumes also all data
#   containers.sh compose ARGUMENT... Compose itself, with REVISION set: ps, logs, stop sentiment_api2
#
# Debian's packages docker.io and docker-compose are enough. BASE names another image of Debian 13. WITH=postgres,redis has
# these started and used. What has changed and is not committed gets a tag of its own that says so.
# Exit codes: 100 something to correct by the caller, 111 something of the system's.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
	printf '%s\n' "$*" >&2
	exit "${code:-100}"
}
unset code

docker=${DOCKER:-docker}
need_engine() {
	command -v "$docker" >/dev/null || fail 'docker is missing: apt-get install docker.io docker-compose'
	"$docker" version >/dev/null 2>&1 || code=111 fail "No engine answers${DOCKER_HOST:+ at $DOCKER_HOST}: start it (systemctl start docker), or add yourself to the group docker."
}

compose() {
	if command -v docker-compose >/dev/null; then
		docker-compose "$@"
	elif "$docker" compose version >/dev/null 2>&1; then
		"$docker" compose "$@"
	else
		fail 'Compose is missing: apt-get install docker-compose'
	fi
}

set_revision() {
	if [ -z "${REVISION:-}" ]; then
		REVISION=$(git rev-parse HEAD 2>/dev/null) || fail 'This is no git checkout: say which revision it is, REVISION=SHA.'
		[ -z "$(git status --porcelain 2>/dev/null)" ] || REVISION+=-changed
	fi
	VERSION=$(sed -n 's/.*APPCORE_VERSION "\(.*\)"/\1/p' lib/base/version.h)
	export REVISION VERSION
}

build() {
	local target name base=${BASE:-debian:trixie-slim}
	[ "$#" -gt 0 ] || set -- appcore nginx prometheus alertmanager
	for target in "$@"; do
		name=appcore-$target
		[ "$target" != appcore ] || name=appcore
		"$docker" build --target "$target" --build-arg "BASE=$base" --build-arg "REVISION=$REVISION" --build-arg "VERSION=$VERSION" \
			-t "$name:$REVISION" . || code=111 fail "The image $name could not be built; the reason stands above."
	done
}

# Readable by the containers' users, who are nobody on this machine, in a folder that nobody else enters. One that is there
# stays: a database would not know a new password.
make_secret() { # NAME VALUE
	local file=$secrets/$1
	[ ! -s "$file" ] || return 0
	printf '%s\n' "$2" >"$file.$$"
	chmod 444 "$file.$$"
	[ -e "$file" ] && [ ! -s "$file" ] && rm -f "$file"
	mv -n "$file.$$" "$file" # another call may have been first
	rm -f "$file.$$"
	printf 'Made %s\n' "$file"
}
random_text() { head -c "$1" /dev/urandom | base64 -w 0 | tr '+/' '-_' | tr -d '='; } # BYTES

make_secrets() {
	secrets=${SECRETS_DIR:-./secrets}
	(umask 077 && mkdir -p "$secrets") || code=111 fail "$secrets can't be made here."
	chmod 700 "$secrets"
	make_secret api_key "ak_$(random_text 32)"
	make_secret secret_key "$(random_text 48)"
	make_secret postgres_password "$(random_text 24)"
}

# What is started beside the rest is also used.
set_profiles() {
	case ,${WITH:-}, in *,postgres,*) export DATABASE_URL='' POSTGRES_HOST=sentiment_db ;; esac
	case ,${WITH:-}, in *,redis,*) export REDIS_URL=redis://sentiment_redis:6379 ;; esac
	export COMPOSE_PROFILES=${WITH:-}
}

targets() {
	local target
	for target in appcore nginx prometheus alertmanager ${WITH//,/ }; do printf '%s\n' "$target"; done
}

verb=${1:-}
[ "$#" -eq 0 ] || shift
case $verb in
build)
	need_engine
	set_revision
	build "$@"
	;;
secrets) make_secrets ;;
up)
	need_engine
	set_revision
	WITH=${WITH:-}
	mapfile -t wanted < <(targets)
	make_secrets
	set_profiles
	build "${wanted[@]}" >/dev/null
	compose up -d "$@" || code=111 fail "It did not start; \"containers.sh compose ps\" and \"containers.sh compose logs\" tell more."
	;;
down)
	need_engine
	set_revision
	export COMPOSE_PROFILES=postgres,redis
	compose down --remove-orphans "$@"
	;;
compose)
	need_engine
	set_revision
	set_profiles
	compose "$@"
	;;
*)
	sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
	exit 100
	;;
esac
