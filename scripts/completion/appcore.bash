# shellcheck shell=bash
# Completion of appcore for bash: subcommands, their verbs and options, files where one is wanted.
_appcore() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} words=
	case $previous in
	--name | --username | --email | --version | --rate | --expires | --overlap | --to | --text | --label | --ngram | --max-features | --split | --seed | \
		--payload | --priority | --delay | --timeout | --limit | \
		--description | --source | --licence) return ;; # values of the user's own
	--sticky)
		mapfile -t COMPREPLY < <(compgen -W 'key header: none' -- "$current")
		return
		;;
	--manifest | --password-file)
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		compopt -o filenames 2>/dev/null
		return
		;;
	--output)
		mapfile -t COMPREPLY < <(compgen -d -- "$current")
		compopt -o filenames 2>/dev/null
		return
		;;
	--model) mapfile -t COMPREPLY < <(compgen -W 'nb logistic' -- "$current") && return ;;
	--status)
		mapfile -t COMPREPLY < <(compgen -W 'pending processing completed failed cancelled dead' -- "$current")
		return
		;;
	--kind) mapfile -t COMPREPLY < <(compgen -W "$(appcore task kinds 2>/dev/null)" -- "$current") && return ;;
	--scope) mapfile -t COMPREPLY < <(compgen -W models -- "$current") && return ;;
	esac
	if [ "$COMP_CWORD" -eq 1 ]; then
		words='serve migrate key user model backup restore move work task ingest pipeline train check config version help --help --version'
	else
		case ${COMP_WORDS[1]} in
		migrate)
			case ${COMP_WORDS[2]} in
			up) words='--to --dry-run --wait --help' ;;
			down) words='--to --dry-run --help' ;;
			current | history) words='--json --help' ;;
			new) words='--help' ;;
			*) words='up down current history new --help' ;;
			esac
			;;
		key)
			case ${COMP_WORDS[2]} in
			create) words='--name --rate --expires --scope --json --help' ;;
			list) words='--json --help' ;;
			revoke) words='--help' ;;
			rotate) words='--overlap --json --help' ;;
			*) words='create list revoke rotate --help' ;;
			esac
			;;
		user)
			case ${COMP_WORDS[2]} in
			create) words='--username --email --superuser --password-file --json --help' ;;
			reset) words='--password-file --revoke-keys --json --help' ;;
			disable) words='--revoke-keys --json --help' ;;
			list | show | enable | promote | demote) words='--json --help' ;;
			*) words='create list show disable enable promote demote reset --help' ;;
			esac
			;;
		model)
			case ${COMP_WORDS[2]} in
			add)
				words='--name --version --manifest --activate --if-absent --json --help'
				if [[ -n $current && $current != -* ]]; then
					mapfile -t COMPREPLY < <(compgen -f -- "$current")
					compopt -o filenames 2>/dev/null
					return
				fi
				;;
			check)
				words='--manifest --json --help'
				if [[ -n $current && $current != -* ]]; then
					mapfile -t COMPREPLY < <(compgen -f -- "$current")
					compopt -o filenames 2>/dev/null
					return
				fi
				;;
			route) words='--sticky --json --help' ;;
			shadow) words='none --json --help' ;;
			replay) words='--to --from --since --limit --top --tolerance --json --csv --help' ;;
			compare) words='--since --top --tolerance --json --csv --help' ;;
			drift) words='--since --json --help' ;;
			list | show | activate | rollback) words='--json --help' ;;
			load | unload | remove) words='--help' ;;
			*) words='add list show check activate rollback route shadow replay compare drift load unload remove --help' ;;
			esac
			;;
		backup | restore)
			words='--help'
			if [[ $current != -* ]]; then
				mapfile -t COMPREPLY < <(compgen -f -- "$current")
				compopt -o filenames 2>/dev/null
				return
			fi
			;;
		move) words='--to --full --json --help' ;;
		train)
			words='sentiment --data --text --label --ngram --max-features --split --seed --model --refit --output --name
				--version --description --source --licence --help'
			if [[ $COMP_CWORD -gt 2 && -n $current && $current != -* ]]; then
				mapfile -t COMPREPLY < <(compgen -f -- "$current")
				compopt -o filenames 2>/dev/null
				return
			fi
			;;
		ingest)
			words='--pipeline --follow --json --help'
			if [[ -n $current && $current != -* ]]; then
				mapfile -t COMPREPLY < <(compgen -f -- "$current")
				compopt -o filenames 2>/dev/null
				return
			fi
			;;
		task)
			case ${COMP_WORDS[2]} in
			list) words='--status --kind --limit --json --help' ;;
			show) words='--json --help' ;;
			add)
				words='--payload --priority --delay --json --help'
				[ "$COMP_CWORD" -gt 3 ] || words+=" $(appcore task kinds 2>/dev/null)"
				;;
			retry) words='--dead --kind --help' ;;
			drain) words='--timeout --help' ;;
			cancel | kinds) words='--help' ;;
			*) words='list show add retry cancel drain kinds --help' ;;
			esac
			;;
		pipeline)
			case ${COMP_WORDS[2]} in
			check | show | try | index)
				words='--json --help'
				[ "${COMP_WORDS[2]}" != try ] || words+=' --limit'
				[ "${COMP_WORDS[2]}" != index ] || words+=' --dry-run'
				if [[ -n $current && $current != -* ]]; then
					mapfile -t COMPREPLY < <(compgen -f -- "$current")
					compopt -o filenames 2>/dev/null
					return
				fi
				;;
			list) words='--json --help' ;;
			*) words='check list show try index --help' ;;
			esac
			;;
		check) words='--integrity --live --json --help' ;;
		config) words='--shell --json --help' ;;
		serve | work | version) words='--help' ;;
		help) words='serve migrate key user model backup restore move work task ingest pipeline train check config version help' ;;
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _appcore appcore
