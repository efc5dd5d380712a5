#!/usr/bin/env bash
# appcore-bootstrap: from a bare Debian to a running service; cloud-init runs it at the first boot. Reads
# /etc/appcore/bootstrap.conf and may be run again: what is done already stays as it is. A volume that has anything on
# it is never formatted, and a package whose checksum differs is not installed.
set -euo pipefail
umask 077
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
root=${BOOTSTRAP_ROOT:-} # another root than / for a dry run of its tests
configuration=$root/etc/appcore/bootstrap.conf
credentials=$root/etc/appcore/credentials
log=$root/var/log/appcore-bootstrap.log

say() { printf '%s %s\n' "$(date -u +%FT%TZ)" "$*" | tee -a "$log"; }
fail() {
	say "$*" >&2
	exit 1
}

mount_data() {
	[ -n "$DATA_DEVICE" ] || return 0
	local uuid device=$DATA_DEVICE waited=0
	# A volume may be attached while the machine boots.
	until [ -b "$device" ]; do
		[ "$waited" -lt "${DEVICE_SECONDS:-120}" ] || fail "There is no $device after $waited s: attach the data volume, then run appcore-bootstrap."
		sleep 1
		waited=$((waited + 1))
	done
	mkdir -p "$root$DATA_DIRECTORY"
	if ! mountpoint -q "$root$DATA_DIRECTORY"; then
		# 2: nothing that blkid knows. Any other answer is no leave to format.
		local status=0
		blkid -p "$device" >/dev/null || status=$?
		case $status in
		0) ;;
		2)
			say "Formatting $device with $DATA_FILESYSTEM: there is nothing on it."
			"mkfs.$DATA_FILESYSTEM" -q "$device" || fail "$device could not be formatted: see the lines above."
			;;
		*) fail "What is on $device can't be told (blkid: $status): look at it, then run appcore-bootstrap." ;;
		esac
		uuid=$(blkid -s UUID -o value "$device")
		[ -n "$uuid" ] || fail "$device has no file system with a UUID: it is somebody else's; give the right data_device."
		grep -q "^UUID=$uuid " "$root/etc/fstab" ||
			printf 'UUID=%s %s auto defaults,nosuid,nodev,x-systemd.before=appcore-migrate.service 0 2\n' "$uuid" "$DATA_DIRECTORY" >>"$root/etc/fstab"
		mount "$DATA_DIRECTORY" || fail "$device could not be mounted on $DATA_DIRECTORY: see dmesg."
	fi
	say "The data lies on $device."
}

# Each secret is asked for by the name of its setting; it goes to its file and nowhere else.
fetch_secrets() {
	[ -n "$SECRET_COMMAND" ] || return 0
	local name value
	mkdir -p "$credentials"
	chmod 700 "$credentials"
	for name in $SECRET_NAMES; do
		value=
		for attempt in 1 2 3 4 5; do
			if value=$(NAME=$name bash -c "$SECRET_COMMAND" 2>>"$log") && [ -n "$value" ]; then
				break
			fi
			value=
			[ "$attempt" = 5 ] || sleep "${RETRY_SECONDS:-5}"
		done
		[ -n "$value" ] || fail "The secret $name could not be fetched: may this machine's identity read it? secret_command stands in $configuration, what it said in $log."
		printf '%s\n' "$value" >"$credentials/.$name.new"
		mv "$credentials/.$name.new" "$credentials/$name"
	done
	say "Fetched: $SECRET_NAMES."
}

install_package() {
	local package=$PACKAGE_PATH kept
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	if [ -n "$PACKAGE_URL" ]; then
		package=$work/appcore.deb
		curl -fsS --proto '=https' --retry 5 --retry-connrefused --connect-timeout 20 --max-time 600 -o "$package" -- "$PACKAGE_URL" 2>>"$log" ||
			fail "The package could not be fetched from $PACKAGE_URL: is the address right and reachable from here?"
	fi
	[ -r "$package" ] || fail "There is no package $package: mount it, then run appcore-bootstrap."
	# Of a copy, so that what is installed is what was checked.
	kept=$work/checked.deb
	cp -- "$package" "$kept"
	printf '%s  %s\n' "$PACKAGE_SHA256" "$kept" | sha256sum --quiet -c - >/dev/null 2>&1 ||
		fail "The package has another checksum than package_sha256: it is not installed. Give the checksum of this release, or the right package."
	chmod 755 "$work"
	chmod 644 "$kept"
	# The settings are here before the package: they stay.
	apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 install --no-install-recommends "$kept" >>"$log" 2>&1 ||
		fail "The package could not be installed: the end of $log says why."
	chgrp appcore "$root/etc/appcore/appcore.env"
	chmod 640 "$root/etc/appcore/appcore.env"
}

start() {
	systemctl daemon-reload
	systemctl enable --now unattended-upgrades.service >>"$log" 2>&1 || say "unattended-upgrades is not enabled: enable it by hand."
	systemctl enable appcore.target >>"$log" 2>&1 || fail "appcore.target can't be enabled: systemctl status appcore.target says why."
	# What the package has started has not read these settings and secrets.
	systemctl restart appcore.target >>"$log" 2>&1 || fail "The service does not start: journalctl -u 'appcore*' says why."
	for timer in appcore-backup.timer appcore-health.timer; do
		if systemctl cat "$timer" >/dev/null 2>&1; then
			systemctl enable --now "$timer" >>"$log" 2>&1 || fail "$timer can't be enabled: systemctl status $timer says why."
		fi
	done
	"$root/usr/share/appcore/scripts/health_check.sh" "$HEALTH_URL" 30 2 >>"$log" 2>&1 ||
		fail "The service does not become healthy at $HEALTH_URL: journalctl -u 'appcore*' says why."
}

mkdir -p "$root/var/log"
[ "$(id -u)" -eq 0 ] || { echo "appcore-bootstrap wants root: run it with sudo." >&2; exit 1; }
[ -r "$configuration" ] || fail "There is no $configuration: cloud-init writes it."
# Two at once would both install.
exec {lock}>"$root/run/appcore-bootstrap.lock"
flock -n "$lock" || fail "Another appcore-bootstrap is at work: wait for it."
# shellcheck source=/dev/null
. "$configuration"
mount_data
fetch_secrets
install_package
start
say "The service is healthy."
