#!/usr/bin/env bash
# lint.sh [CHECKER...]: format, banned, shell, docs, cppcheck, analyzer, tidy; all of them without arguments.
#
# A checker is trusted once it has found the fault that is seeded for it in tests/lint/: one that stays silent there
# (a changed option, a missing file, a version that knows the check no longer) fails the run.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C
unset MAKEFLAGS MAKELEVEL # the compilations below are runs of make in their own right
jobs=${JOBS:-$(nproc)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What git knows, and what is there: somebody may be in the middle of a change.
tracked() { # PATTERN...
	local file
	git -c safe.directory="$PWD" ls-files -- "$@" | while read -r file; do
		[[ ! -f $file || $file == tests/lint/* ]] || printf '%s\n' "$file"
	done
}

sources() { tracked 'lib/*.c' 'fcgi-app/*.c'; }

scripts() {
	tracked '*.sh' '*.bash'
	tracked '.ci/*' 'scripts/*' ':!*.*sh' | while read -r file; do
		! head -n 1 "$file" | grep -qE '^#!.*\b(ba|da)?sh$' || printf '%s\n' "$file"
	done
}

each() { xargs -r -d '\n' -P "$jobs" "$@"; } # -n COUNT COMMAND: over the files on standard input, some at a time

# --- the checkers: files on standard input, findings on standard output ---

check_format() { each -n 16 clang-format --dry-run -Werror 2>&1; }

# Not bounded, not safe beside other threads, or blind to errors.
banned='strcpy|strcat|stpcpy|v?sprintf|gets|strtok|localtime|gmtime|ctime|asctime|s?rand|ato[ilf]|alloca|system|popen|'
banned+='tmpnam|mktemp|readdir_r|gethostbyname|setenv|putenv|unsetenv|vfork'
check_banned() { ! { each grep -nHE "(^|[^A-Za-z0-9_.>])($banned)\(" || true; } | grep .; }

check_shell() { each -n 4 shellcheck; }

check_docs() {
	each -n 100 mandoc -T lint -W warning || return
	scripts/check_docs.sh
}

check_cppcheck() {
	# readdirCalled: readdir is safe on a stream of one's own, and readdir_r is deprecated. internalAstError: version
	# 2.10 can't read a compound literal between ? and :. The library "gnu" takes accept4 for one that refuses NULL. ucontext
	# is what POSIX no longer has and Linux does (base/fiber.c).
	cppcheck -q -j "$jobs" --file-list=- --enable=warning,performance,portability --error-exitcode=1 --inline-suppr \
		--suppress=readdirCalled --suppress=internalAstError --suppress=normalCheckLevelMaxBranches \
		--suppress=getcontextCalled --suppress=makecontextCalled --suppress=swapcontextCalled \
		--suppress=setcontextCalled --suppress=nullPointer:fcgi-app/http/fcgi_conn.c --std=c11 --library=posix -D_GNU_SOURCE -D__GNUC__ -Ilib -Ifcgi-app 2>&1
}

# A real compilation, at -O2: with -fsyntax-only the analyzer does not run at all.
check_analyzer() { sed 's|^|build/analyzer/|; s|\.c$|.o|' | each -n 1000 make -s -k -j "$jobs" VARIANT=analyzer 2>&1; }

# One file per run: with two, version 14 takes the va_list of the second for uninitialised.
check_tidy() { each -n 1 clang-tidy --quiet 2>"$work/tidy" || { grep -v 'warnings generated' "$work/tidy"; false; }; }

# --- what each looks at, its seeded fault, and what it has to say of that ---

files_of() { # CHECKER
	case $1 in
	format) tracked '*.c' '*.h' ;;
	banned) tracked 'lib/*.[ch]' 'fcgi-app/*.[ch]' ;;
	shell) scripts ;;
	docs) tracked 'docs/man/*.1' ;;
	*) sources ;;
	esac
}

seed_of() { # CHECKER: file, then what is to be found in the checker's words
	case $1 in
	format) echo tests/lint/seeded_format.c clang-format-violations ;;
	banned) echo tests/lint/seeded_banned.c strcpy ;;
	shell) echo tests/lint/seeded_shell.sh SC2086 ;;
	docs) echo tests/lint/seeded_page.1 'missing.end.of.block' ;;
	cppcheck) echo tests/lint/seeded_cppcheck.c arrayIndexOutOfBounds ;;
	analyzer) echo tests/lint/seeded_analyzer.c analyzer-double-free ;;
	tidy) echo tests/lint/seeded_tidy.c bugprone-sizeof-expression ;;
	*) return 1 ;;
	esac
}

run() { # CHECKER
	local file words
	read -r file words < <(seed_of "$1") || { echo "there is no checker $1" && return 1; }
	if echo "$file" | "check_$1" >"$work/seed" 2>&1 || ! grep -q -- "$words" "$work/seed"; then
		cat "$work/seed"
		echo "The checker $1 does not find the fault in $file: it proves nothing."
		return 1
	fi
	files_of "$1" >"$work/files"
	[ -s "$work/files" ] || { echo "no files for $1" && return 1; }
	"check_$1" <"$work/files"
}

failed=0
[ $# -gt 0 ] || set -- format banned shell docs cppcheck analyzer tidy
for checker in "$@"; do
	SECONDS=0
	if run "$checker" >"$work/out" 2>&1; then
		printf 'ok   %s (%d files, %d s)\n' "$checker" "$(wc -l <"$work/files")" "$SECONDS"
	else
		failed=$((failed + 1))
		cat "$work/out"
		printf 'FAIL %s (%d s)\n' "$checker" "$SECONDS"
	fi
done
printf 'lint: %d passed, %d failed\n' "$(($# - failed))" "$failed"
[ "$failed" -eq 0 ]
