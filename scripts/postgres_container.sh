#!/usr/bin/env bash
# postgres_container.sh: PostgreSQL in a container of its own (Dockerfile), from Debian's package. The first start makes the
# cluster, with a user and a database named appcore and the password that POSTGRES_PASSWORD_FILE holds; then it becomes the
# server, which only TCP with a password and its own socket reach.
set -euo pipefail
umask 077

password=${POSTGRES_PASSWORD_FILE:?names the file that holds the password}
[ -s "$password" ] || {
	printf '%s is empty or is not there: write the password of the database into it.\n' "$password" >&2
	exit 100
}

# Made beside and renamed: a first start that is interrupted begins anew.
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	rm -rf "$PGDATA/new"
	initdb -D "$PGDATA/new" -U appcore --pwfile="$password" --auth-local=peer --auth-host=scram-sha-256 -E UTF8 --locale=C.UTF-8 >/dev/null
	printf 'local all appcore trust\nhost all appcore all scram-sha-256\n' >"$PGDATA/new/pg_hba.conf"
	printf 'CREATE DATABASE appcore;\n' | postgres --single -D "$PGDATA/new" postgres >/dev/null
	(shopt -s dotglob && mv "$PGDATA"/new/[!P]* "$PGDATA"/new/PG_VERSION "$PGDATA/")
	rmdir "$PGDATA/new"
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/run/postgresql
