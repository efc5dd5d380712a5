#!/usr/bin/env bash
# terraform_ci.sh plan|apply ENVIRONMENT: Terraform from a pipeline. The state's bucket is STATE_BUCKET; who may read and write it is
# told by the pipeline's own identity (an OIDC token for the role AWS_ROLE_ARN, no static key). plan writes
# build/terraform/ENVIRONMENT.md and, with PULL_REQUEST and gh, keeps it as a comment of the pull request; apply plans anew and applies
# exactly that plan.
set -euo pipefail
umask 077
cd "$(dirname "$0")/.."
export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1 TF_INPUT=0

fail() {
	printf '%s\n' "$*" >&2
	exit 100
}

action=${1:-} environment=${2:-}
case $action in plan | apply) ;; *) fail 'usage: terraform_ci.sh plan|apply ENVIRONMENT' ;; esac
case $environment in dev | staging | production) ;; *) fail "There is no terraform/environments/$environment: dev, staging or production." ;; esac
command -v terraform >/dev/null || fail 'terraform is missing: install version 1.10 or newer.'
root=$PWD/terraform/environments/$environment out=$PWD/build/terraform
: "${STATE_BUCKET:?is not set: the bucket of the state}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

if [ -n "${ACTIONS_ID_TOKEN_REQUEST_URL:-}" ] && [ -n "${AWS_ROLE_ARN:-}" ]; then
	printf 'header = "Authorization: bearer %s"\n' "$ACTIONS_ID_TOKEN_REQUEST_TOKEN" >"$work/github"
	curl -fsS --max-time 30 --retry 2 -K "$work/github" "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=sts.amazonaws.com" | jq -er .value >"$work/token" ||
		fail 'No identity was given: the job needs id-token: write.'
	export AWS_WEB_IDENTITY_TOKEN_FILE=$work/token AWS_ROLE_SESSION_NAME=appcore-$environment
fi

mkdir -p "$out"
options=()
# shellcheck disable=SC2206  # words, for another store than AWS's
[ -z "${BACKEND_OPTIONS:-}" ] || options=($BACKEND_OPTIONS)
terraform -chdir="$root" init -no-color -backend-config=backend.hcl -backend-config="bucket=$STATE_BUCKET" "${options[@]}" >"$work/init" 2>&1 ||
	{ cat "$work/init" >&2 && fail "terraform init fails in $environment: the lines above say why."; }
terraform -chdir="$root" plan -no-color -lock-timeout=5m -out="$work/plan" >"$work/text" 2>&1 ||
	{ cat "$work/text" >&2 && fail "terraform plan fails in $environment: the lines above say why."; }
{
	printf '<!-- terraform %s -->\n### Terraform plan: %s\n\n```\n' "$environment" "$environment"
	# A comment holds 65536 characters.
	terraform -chdir="$root" show -no-color "$work/plan" | head -c 60000
	printf '\n```\n'
} >"$out/$environment.md"
cat "$out/$environment.md"
if [ "$action" = apply ]; then
	terraform -chdir="$root" apply -no-color -lock-timeout=5m "$work/plan" || fail "terraform apply fails in $environment: the lines above say why; nothing else was begun."
elif [ -n "${PULL_REQUEST:-}" ] && command -v gh >/dev/null; then
	# The comment of before is written anew.
	comment=$(gh api --paginate "repos/$GITHUB_REPOSITORY/issues/$PULL_REQUEST/comments" --jq ".[] | select(.body | startswith(\"<!-- terraform $environment -->\")) | .id" | head -n 1)
	jq -n --rawfile body "$out/$environment.md" '{body: $body}' >"$work/comment"
	if [ -n "$comment" ]; then
		gh api -X PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$comment" --input "$work/comment" >/dev/null
	else
		gh api "repos/$GITHUB_REPOSITORY/issues/$PULL_REQUEST/comments" --input "$work/comment" >/dev/null
	fi || fail 'The plan could not be written to the pull request: the job needs pull-requests: write.'
fi
