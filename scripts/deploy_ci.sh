#!/usr/bin/env bash
# deploy_ci.sh PACKAGE HOST: deploys from a pipeline that has no key. The pipeline's own identity (an OIDC token, valid for
# minutes) is exchanged for a certificate for an SSH key that is made here and thrown away; deploy.sh does the rest.
#
#   SSH_CA_URL      a Vault or OpenBao: its JWT login tells who this pipeline is, its SSH engine signs. https only
#   SSH_CA_ROLE     role of both (appcore-deploy)
#   SSH_CA_MOUNT    path of the SSH engine (ssh-client-signer)
#   SSH_USER        who it is on the machine (deploy), as the certificate names it
#   SSH_KNOWN_HOSTS the machine's key, as a line of known_hosts: another machine is not deployed to
# GitHub gives ACTIONS_ID_TOKEN_REQUEST_URL and _TOKEN to a job with id-token: write. With GITHUB_REPOSITORY and gh the
# package's provenance is verified first: only what this repository's workflow built is deployed.
set -euo pipefail
umask 077
home=$(cd "$(dirname "$0")/.." && pwd)

fail() {
	printf '%s\n' "$*" >&2
	exit 100
}

[ "$#" -eq 2 ] || fail 'usage: deploy_ci.sh PACKAGE HOST'
package=$1 host=$2
[ -f "$package" ] || fail "There is no package $package: it is an artefact of the build."
[[ $host =~ ^[A-Za-z0-9][A-Za-z0-9.-]*$ ]] || fail "HOST is '$host', which is no name of a machine: set DEPLOY_HOST of the environment."
: "${SSH_CA_URL:?is not set: the address of the authority that signs SSH keys (docs/pipeline.md)}"
: "${SSH_KNOWN_HOSTS:?is not set: the known_hosts line of the machine (docs/pipeline.md)}"
: "${ACTIONS_ID_TOKEN_REQUEST_URL:?is not set: the job needs id-token: write}"
: "${ACTIONS_ID_TOKEN_REQUEST_TOKEN:?is not set: the job needs id-token: write}"
case $SSH_CA_URL in https://* | http://127.0.0.1:*) ;; *) fail 'SSH_CA_URL begins with https://.' ;; esac
for tool in curl jq ssh-keygen; do
	command -v "$tool" >/dev/null || fail "$tool is missing: install it."
done
role=${SSH_CA_ROLE:-appcore-deploy} mount=${SSH_CA_MOUNT:-ssh-client-signer} user=${SSH_USER:-deploy}

if [ -n "${GITHUB_REPOSITORY:-}" ] && [ "${VERIFY_PROVENANCE:-yes}" = yes ]; then
	command -v gh >/dev/null || fail 'gh is missing, which verifies the provenance of the package.'
	gh attestation verify "$package" --repo "$GITHUB_REPOSITORY" || fail "$package has no provenance of $GITHUB_REPOSITORY: it is not deployed."
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
# Tokens go through files: a command line is there for everybody to read.
ask() { curl -fsS --max-time 30 --retry 2 "$@"; }
printf 'header = "Authorization: bearer %s"\n' "$ACTIONS_ID_TOKEN_REQUEST_TOKEN" >"$work/github"
ask -K "$work/github" "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=$SSH_CA_URL" | jq -e --arg role "$role" '{role: $role, jwt: .value}' >"$work/login" ||
	fail 'No identity was given: the job needs id-token: write.'
ask -d "@$work/login" "$SSH_CA_URL/v1/auth/jwt/login" | jq -er '"header = \"X-Vault-Token: " + .auth.client_token + "\""' >"$work/vault" ||
	fail "$SSH_CA_URL does not take this identity: may the role $role be had from this repository, branch and environment?"
ssh-keygen -q -t ed25519 -N '' -C "$role" -f "$work/key"
jq -n --arg user "$user" --rawfile key "$work/key.pub" '{public_key: $key, valid_principals: $user, ttl: "15m"}' >"$work/request"
ask -K "$work/vault" -d "@$work/request" "$SSH_CA_URL/v1/$mount/sign/$role" | jq -er .data.signed_key >"$work/key-cert.pub" ||
	fail "$SSH_CA_URL does not sign for $user: look at the role $role of $mount."
printf '%s\n' "$SSH_KNOWN_HOSTS" >"$work/known_hosts"
SSH="ssh -i $work/key -o CertificateFile=$work/key-cert.pub -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=$work/known_hosts" \
	"${DEPLOY_SCRIPT:-$home/scripts/deploy.sh}" "$package" --host "$user@$host" --by "${GITHUB_ACTOR:-pipeline}"
