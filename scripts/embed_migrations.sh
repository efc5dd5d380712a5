#!/usr/bin/env bash
# Prints a C file with the table that migrate_all() gives (lib/store/migrate.h), made of the SQL files of a directory:
# NNNN_name.up.sql and NNNN_name.down.sql, and NNNN_name.postgresql.up.sql (or down) where PostgreSQL wants another text. Bytes become character constants: safe for any text, and not bound by the
# 4,095 characters that a string literal may have. Numbers have no gaps; anything else is an error.
set -euo pipefail
export LC_ALL=C
dir=${1:?usage: embed_migrations.sh DIRECTORY}

fail() {
	printf 'embed_migrations.sh: %s\n' "$1" >&2
	exit 1
}

# The bytes of file $2 as a C array named $1.
array() {
	printf '/* %s */\nstatic const char %s[] = {\n' "${2##*/}" "$1"
	od -An -v -tx1 "$2" | sed -e "s/ *\([0-9a-f][0-9a-f]\)/'\\\\x\1',/g"
	printf "'\\\\0'};\n\n"
}

printf '/* Made by scripts/embed_migrations.sh from the files in %s. */\n#include "store/migrate.h"\n\n' "$dir"
rows=
rows_postgresql=
count=0
for up in "$dir"/*.up.sql; do
	[ -f "$up" ] || fail "no migrations in $dir"
	[[ $up != *.postgresql.up.sql ]] || continue
	base=${up##*/}
	base=${base%.up.sql}
	down=$dir/$base.down.sql
	[[ $base =~ ^[0-9]{4}_[a-z0-9_]+$ ]] || fail "$up: the name is not NNNN_name.up.sql"
	number=$((10#${base%%_*}))
	count=$((count + 1))
	[ "$number" -eq "$count" ] || fail "$up: number $count is missing or there twice"
	[ -f "$down" ] || fail "$down is missing"
	array "UP_${base%%_*}" "$up"
	array "DOWN_${base%%_*}" "$down"
	rows+=$(printf '\t{%d, "%s", UP_%s, DOWN_%s},' "$number" "${base#*_}" "${base%%_*}" "${base%%_*}")$'\n'
	names=("UP_${base%%_*}" "DOWN_${base%%_*}")
	for way in up down; do
		own=$dir/$base.postgresql.$way.sql
		[ -f "$own" ] || continue
		array "POSTGRESQL_${way^^}_${base%%_*}" "$own"
		[ "$way" = up ] && names[0]=POSTGRESQL_UP_${base%%_*} || names[1]=POSTGRESQL_DOWN_${base%%_*}
	done
	rows_postgresql+=$(printf '\t{%d, "%s", %s, %s},' "$number" "${base#*_}" "${names[@]}")$'\n'
done
for own in "$dir"/*.postgresql.*.sql; do
	[ ! -f "$own" ] || [ -f "${own/.postgresql./.}" ] || fail "$own belongs to no migration"
done
for down in "$dir"/*.down.sql; do
	[[ $down != *.postgresql.down.sql ]] || continue
	[ -f "${down%.down.sql}.up.sql" ] || fail "$down has no up file"
done

printf 'static const struct migration MIGRATIONS[DB_DIALECT__MAX][%d] = {\n' "$count"
printf '[DB_DIALECT_SQLITE] = {\n%s},\n[DB_DIALECT_POSTGRESQL] = {\n%s},\n};\n\n' "$rows" "$rows_postgresql"
printf 'const struct migration *migrate_all(enum db_dialect dialect, int *n)\n{\n\t*n = %d;\n' "$count"
printf '\treturn MIGRATIONS[dialect];\n}\n'
