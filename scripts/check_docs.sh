#!/usr/bin/env bash
# check_docs.sh: every subcommand, verb and option that `appcore help` and `appcore COMMAND --help` name, and every
# setting, stands in the manual and in both completions. A word that nobody knows has to be missed first.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C
appcore=${APPCORE_BIN:-build/release/appcore}
bash_completion=scripts/completion/appcore.bash
zsh_completion=scripts/completion/_appcore
bad=0

miss() {
	printf '%s\n' "$*"
	bad=$((bad + 1))
}

page() { mandoc -T ascii "docs/man/$1.1" 2>/dev/null | sed $'s/.\b//g'; }
has() { grep -qE -- "(^|[^A-Za-z0-9_-])$1([^A-Za-z0-9_-]|\$)"; } # WORD, in standard input

has_word() { # WHERE WORD TEXT
	has "$2" <<<"$3" || miss "$1 does not know $2"
}

# What bash would offer after these words.
offered() {
	# shellcheck source=scripts/completion/appcore.bash
	(. "$bash_completion" && COMP_WORDS=("$@" '') && COMP_CWORD=$# && _appcore && printf '%s\n' "${COMPREPLY[@]}")
}

zsh_text=$(<"$zsh_completion")
overview=$(page appcore)
has_word seed seeded-word "$overview" >/dev/null
[ "$bad" -eq 1 ] || { echo 'A word that nobody knows is not missed: this check proves nothing.' && exit 1; }
bad=0

mapfile -t commands < <("$appcore" help | sed -nE 's/^  ([a-z]+)  .*/\1/p')
[ "${#commands[@]}" -gt 3 ] || { echo "$appcore help lists no commands" && exit 1; }
for command in "${commands[@]}"; do
	has_word appcore.1 "$command" "$overview"
	has_word "$bash_completion" "$command" "$(offered appcore)"
	has_word "$zsh_completion" "$command" "$zsh_text"
	[ "$command" != help ] || continue
	manual=$(page "appcore-$command")
	[ -n "$manual" ] || miss "docs/man/appcore-$command.1 is missing"
	help=$("$appcore" "$command" --help)
	while read -r line; do
		verb=
		[[ $line =~ appcore\ $command\ ([a-z]+) ]] && verb=${BASH_REMATCH[1]}
		[ -z "$verb" ] || {
			has_word "appcore-$command.1" "$verb" "$manual"
			has_word "$bash_completion" "$verb" "$(offered appcore "$command")"
			has_word "$zsh_completion" "$verb" "$zsh_text"
		}
		mapfile -t options < <(grep -oE -- '--[a-z][a-z-]*' <<<"$line")
		for option in "${options[@]}"; do
			has_word "appcore-$command.1" "$option" "$manual"
			# shellcheck disable=SC2086  # no verb, no word
			has_word "$bash_completion: $command $verb" "$option" "$(offered appcore "$command" $verb)"
			has_word "$zsh_completion" "$option" "$zsh_text"
		done
	done < <(grep -E '^(usage:|      ) ' <<<"$help")
	mapfile -t options < <(grep -oE -- '--[a-z][a-z-]*' <<<"$help")
	for option in "${options[@]}"; do
		has_word "appcore-$command.1" "$option" "$manual"
	done
done
settings=$(env -i "$appcore" config --json | jq -r 'keys[]')
[ -n "$settings" ] || miss "$appcore config lists no settings"
for setting in $settings; do
	has_word appcore.1 "$setting" "$overview"
done
[ "$bad" -eq 0 ]
