#!/bin/bash
# agent.sh: what runs commands in a virtual machine for machine.py, one for each connection. First comes a line: the token
# of this boot, seconds, and the lengths of the command and of what it reads; then these. The answer: a byte at once, what the
# command says, and its exit code behind a NUL.
read -r token seconds command_length input_length || exit
[ "$token" = "${AGENT_TOKEN:-}" ] || exit
printf .
IFS= read -r -d '' -N "$command_length" command || exit
if [ "$input_length" -gt 0 ]; then
	head -c "$input_length" | timeout -k 5 "$seconds" bash -c "$command" 2>&1
	code=${PIPESTATUS[1]}
else
	timeout -k 5 "$seconds" bash -c "$command" 2>&1 </dev/null
	code=$?
fi
printf '\0exit %d\n' "$code"
