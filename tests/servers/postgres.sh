#!/usr/bin/env bash
# postgres.sh COMMAND DIR [...]: a private PostgreSQL server for tests, from Debian's packages (15, 17), apart from any
# cluster of the system. Its files lie in DIR/server. It listens on 127.0.0.1 and a unix socket, wants a password (scram)
# on both, and syncs like one in production.
#
#   start DIR [OPTIONS]           makes it when it is not there yet; returns once it answers
#       --port N                  a free one
#       --listen ADDRESSES        127.0.0.1
#       --host NAME               in the URL: 127.0.0.1
#       --tls                     with a certificate of its own CA for localhost, 127.0.0.1 and --host (see `ca`)
#       --connections N           100
#       --set NAME=VALUE          any setting of postgresql.conf; may be repeated
#       --until PID               it is removed when that process ends, however it does
#   replica DIR OF_DIR [OPTIONS]  a streaming replica of the server of OF_DIR
#   promote DIR                   makes a replica a primary; returns once it is one
#   stop DIR [fast|immediate]     fast: sessions are ended, everything is written
#   restart DIR [fast|immediate]
#   kill DIR                      SIGKILL, and waits until all its processes and its shared memory are gone
#   pause DIR, resume DIR         SIGSTOP, SIGCONT of all its processes
#   remove DIR                    ends it and removes its files
#   url DIR [DATABASE] [OPTIONS]  postgresql://user:password@host:port/database
#       --admin                   as superuser; otherwise a role that may create databases
#       --socket                  through the unix socket
#   createdb DIR NAME, dropdb DIR NAME
#   psql DIR [DATABASE [ARGUMENTS...]]   as superuser
#   ca DIR                        the path of the CA's certificate
#   log DIR                       the path of the log
#
# PostgreSQL does not run as root: root starts it as user postgres. POSTGRES_BIN names the programs' folder (the newest
# below /usr/lib/postgresql). Exit codes: 100 the caller's mistake, 111 the system's.
set -euo pipefail
umask 077
# shellcheck disable=SC2034  # for common.sh
server_user=postgres
# shellcheck source=tests/servers/common.sh
. "$(dirname "$0")/common.sh"

self=$(readlink -f "$0")
role=appcore
new='' # was made by this call: what fails to start is not left behind

[ $# -ge 2 ] || usage
command=$1 dir=$2
shift 2

bin=${POSTGRES_BIN:-}
if [ -z "$bin" ]; then
	bin=$(find /usr/lib/postgresql -path '*/bin/postgres' 2>/dev/null | sort -V | tail -n 1)
	bin=${bin%/postgres}
fi
[ -x "$bin/postgres" ] || fail "PostgreSQL is not installed: run make deps-postgres."

has_server() { find_home "$1" && [ -e "$home/port" ]; } # DIR: sets $home
need() { has_server "$dir" || fail "There is no server in $dir."; }
setting() { cat "$home/$1"; }

# --- what runs ---

postmaster() { # its pid; fails when it does not run
	local pid
	pid=$(head -n 1 "$home/data/postmaster.pid" 2>/dev/null) && is_alive "$pid" &&
		[ "$(readlink "/proc/$pid/exe")" = "$(readlink -f "$bin/postgres")" ] && echo "$pid"
}

# Every backend makes a session of its own, so a signal to a process group reaches one process: children, one by one.
processes() { # POSTMASTER: it and its children
	echo "$1"
	tr ' ' '\n' 2>/dev/null <"/proc/$1/task/$1/children" | grep . || true
}

signal_all() { # SIGNAL: the postmaster first, so that no child is forked meanwhile
	local main pid
	main=$(postmaster) || fail "The server of $dir does not run."
	kill "-$1" "$main"
	for pid in $(processes "$main"); do
		[ "$pid" = "$main" ] || kill "-$1" "$pid" 2>/dev/null || true
	done
}

memory_is_free() { # SHMID: nobody is attached to it
	awk -v id="$1" '$2 == id && $7 > 0 { used = 1 } END { exit used }' /proc/sysvipc/shm
}

kill_all() {
	local main pids pid shmid
	main=$(postmaster) || fail "The server of $dir does not run."
	shmid=$(sed -n '7s/.* //p' "$home/data/postmaster.pid")
	pids=$(processes "$main")
	kill -KILL "$main"
	# They notice by themselves that their postmaster is gone; those that are stopped or busy don't.
	for pid in $pids; do
		within 2 bash -c "! kill -0 $pid" || kill -KILL "$pid" 2>/dev/null || true
	done
	for pid in $pids; do
		while is_alive "$pid"; do sleep 0.02; done
	done
	[ -z "$shmid" ] || within 60 memory_is_free "$shmid" || code=111 fail 'Its shared memory is still in use.'
}

answers() { as_server "$bin/pg_isready" -q -h "$home" -p "$(setting port)"; }

stop_server() { # fast|immediate
	local pid
	pid=$(postmaster) || return 0
	signal_all CONT
	as_server "$bin/pg_ctl" -D "$home/data" -m "$1" -w -t 60 stop >/dev/null || code=111 fail "The server of $dir does not stop."
}

start_server() {
	local tries=0
	while :; do
		echo "port = $(setting port)" >"$home/port.conf"
		give "$home/port.conf"
		! as_server "$bin/pg_ctl" -D "$home/data" -l "$home/log" -w -t 60 start >/dev/null 2>&1 || return 0
		# Somebody took the port meanwhile: another one, unless it was asked for or is known to somebody.
		tries=$((tries + 1))
		if [ -e "$home/port.kept" ] || [ "$tries" -eq 5 ] || ! tail -n 20 "$home/log" | grep -q 'Address already in use'; then
			break
		fi
		free_port >"$home/port"
	done
	tail -n 20 "$home/log" >&2
	[ -z "$new" ] || forget_home "$dir"
	code=111 fail "The server of $dir does not start. Its log stands above."
}

# --- making one ---

make_certificates() { # of a CA of its own, and by it one for the server
	local name=DNS:localhost,IP:127.0.0.1
	case $host in
	127.0.0.1 | localhost) ;;
	*[!0-9.]*) name+=,DNS:$host ;;
	*) name+=,IP:$host ;;
	esac
	openssl req -quiet -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=test CA' -keyout "$home/ca.key" -out "$home/ca.crt" 2>/dev/null ||
		openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=test CA' -keyout "$home/ca.key" -out "$home/ca.crt" 2>/dev/null
	openssl req -newkey rsa:2048 -nodes -subj '/CN=localhost' -keyout "$home/server.key" -out "$home/server.csr" 2>/dev/null
	printf 'subjectAltName=%s\n' "$name" >"$home/server.ext"
	openssl x509 -req -days 30 -in "$home/server.csr" -CA "$home/ca.crt" -CAkey "$home/ca.key" -CAcreateserial \
		-extfile "$home/server.ext" -out "$home/server.crt" 2>/dev/null
	give "$home/server.key" "$home/server.crt"
	chmod 600 "$home/server.key"
	settings+=(ssl=on "ssl_cert_file=$home/server.crt" "ssl_key_file=$home/server.key")
}

read_options() {
	port='' listen=127.0.0.1 host=127.0.0.1 tls='' until='' settings=(max_connections=300)
	while [ $# -gt 0 ]; do
		case $1 in
		--tls) tls=1 && shift && continue ;;
		--port | --listen | --host | --connections | --set | --until) [ $# -ge 2 ] || usage ;;
		*) usage ;;
		esac
		case $1 in
		--port) port=$2 ;;
		--listen) listen=$2 ;;
		--host) host=$2 ;;
		--connections) settings+=("max_connections=$2") ;;
		--set) settings+=("$2") ;;
		--until) until=$2 ;;
		esac
		shift 2
	done
}

configure() {
	local setting value
	[ -z "$port" ] || : >"$home/port.kept"
	echo "${port:-$(free_port)}" >"$home/port"
	echo "$host" >"$home/host"
	[ -z "$tls" ] || make_certificates
	{
		# What production has, and no more memory than a test needs.
		printf '%s\n' "listen_addresses = '$listen'" "unix_socket_directories = '$home'" 'password_encryption = scram-sha-256' \
			'fsync = on' 'synchronous_commit = on' 'shared_buffers = 64MB' 'wal_level = replica' 'max_wal_senders = 10' \
			"log_line_prefix = '%m [%p] %u@%d '" 'cluster_name = test' "include '$home/port.conf'"
		for setting in "${settings[@]}"; do
			value=${setting#*=}
			printf "%s = '%s'\n" "${setting%%=*}" "${value//"'"/"''"}"
		done
	} >"$home/settings.conf"
	give "$home/settings.conf"
}

make_primary() {
	make_home "$dir"
	new=1
	random_password >"$home/password"
	random_password >"$home/admin.password"
	give "$home/admin.password"
	# Another order than that of the bytes is what most clusters have: what relies on the order has to say so.
	as_server "$bin/initdb" -D "$home/data" -U postgres --pwfile="$home/admin.password" -A scram-sha-256 -E UTF8 \
		--locale=C.UTF-8 --locale-provider=icu --icu-locale=en-US >"$home/initdb.log" 2>&1 || {
		cat "$home/initdb.log" >&2
		forget_home "$dir"
		code=111 fail 'initdb failed. Its words stand above.'
	}
	configure
	echo "include '$home/settings.conf'" >>"$home/data/postgresql.conf"
	printf '%s\n' 'local all all scram-sha-256' 'host all all all scram-sha-256' 'host replication postgres all scram-sha-256' \
		'local replication postgres scram-sha-256' >"$home/data/pg_hba.conf"
	start_server
	admin postgres -c "CREATE ROLE $role LOGIN CREATEDB PASSWORD '$(setting password)'"
}

make_replica() { # OF_DIR
	local of
	has_server "$1" || fail "There is no server in $1."
	of=$home
	[ ! -e "$dir/server/port" ] || fail "There is a server in $dir already."
	make_home "$dir"
	new=1
	cp "$of/password" "$of/admin.password" "$home/"
	printf '*:*:*:postgres:%s\n' "$(setting admin.password)" >"$home/pgpass"
	give "$home/pgpass" "$home/admin.password"
	as_server env PGPASSFILE="$home/pgpass" "$bin/pg_basebackup" -D "$home/data" -R -X stream -c fast -w \
		-d "host=$(cat "$of/host") port=$(cat "$of/port") user=postgres passfile=$home/pgpass application_name=replica" \
		>"$home/basebackup.log" 2>&1 || {
		cat "$home/basebackup.log" >&2
		forget_home "$dir"
		code=111 fail "The copy of $1 failed. The words stand above."
	}
	configure
	sed -i "s|^include '$of/settings.conf'|include '$home/settings.conf'|" "$home/data/postgresql.conf"
	[ -z "$(find "$of" -maxdepth 1 -name ca.crt)" ] || [ -n "$tls" ] || printf 'ssl = off\n' >>"$home/settings.conf"
	start_server
}

# --- using it ---

admin() { # DATABASE PSQL-ARGUMENTS...
	local database=$1
	shift
	PGPASSWORD=$(setting admin.password) PGCONNECT_TIMEOUT=10 PGOPTIONS='' "$bin/psql" -X -q -v ON_ERROR_STOP=1 -h "$home" \
		-p "$(setting port)" -U postgres -d "$database" "$@"
}

url() { # [DATABASE] [--admin] [--socket]
	local database=postgres user=$role password where
	password=$(setting password)
	where=$(setting host):$(setting port)
	while [ $# -gt 0 ]; do
		case $1 in
		--admin) user=postgres password=$(setting admin.password) ;;
		--socket) where=${home//\//%2F}:$(setting port) ;;
		-*) usage ;;
		*) database=$1 ;;
		esac
		shift
	done
	: >"$home/port.kept" # from now on somebody knows it
	echo "postgresql://$user:$password@$where/$database"
}

case $command in
start | replica)
	of=
	if [ "$command" = replica ]; then
		[ $# -ge 1 ] || usage
		of=$1
		shift
	fi
	read_options "$@"
	if [ "$command" = replica ]; then
		make_replica "$of"
	elif has_server "$dir"; then
		! postmaster >/dev/null || fail "The server of $dir runs already."
		start_server
	else
		make_primary
	fi
	[ -z "$until" ] || ends_with "$until" "$self" "$dir"
	;;
promote)
	need
	as_server "$bin/pg_ctl" -D "$home/data" -w -t 60 promote >/dev/null || code=111 fail "The server of $dir cannot be promoted."
	;;
stop)
	need
	stop_server "${1:-fast}"
	;;
restart)
	need
	stop_server "${1:-fast}"
	start_server
	;;
kill)
	need
	kill_all
	;;
pause)
	need
	signal_all STOP
	;;
resume)
	need
	signal_all CONT
	;;
remove)
	if find_home "$dir"; then
		# One that ends by itself removes its segments of /dev/shm, one that is killed leaves them.
		! postmaster >/dev/null || (stop_server immediate) 2>/dev/null || kill_all
		# The next postmaster of that folder would remove what a killed one leaves; there is none.
		shmid=$(sed -n '7s/.* //p' "$home/data/postmaster.pid" 2>/dev/null) || true
		[ -z "$shmid" ] || ipcrm -m "$shmid" 2>/dev/null || true
	fi
	forget_home "$dir"
	;;
url)
	need
	url "$@"
	;;
createdb)
	need
	[ $# -eq 1 ] || usage
	admin postgres -c "CREATE DATABASE \"$1\" OWNER $role"
	;;
dropdb)
	need
	[ $# -eq 1 ] || usage
	admin postgres -c "DROP DATABASE IF EXISTS \"$1\" WITH (FORCE)" 2>/dev/null
	;;
psql)
	need
	database=${1:-postgres}
	[ $# -eq 0 ] || shift
	admin "$database" "$@"
	;;
ca)
	need
	[ -e "$home/ca.crt" ] || fail "The server of $dir was started without --tls."
	echo "$home/ca.crt"
	;;
log)
	need
	echo "$home/log"
	;;
*) usage ;;
esac
