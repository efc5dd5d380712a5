#!/usr/bin/env bash
# add_models.sh: adds the models that appcore ships with, ../models/NAME/VERSION, to MODELS_DIR and the database. Those that
# are there stay, and so does whatever is active. APPCORE_BIN names the program. A model that can't be added does not keep
# the others from it.
set -u
models=$(cd "$(dirname "$0")/.." && pwd)/models
appcore=${APPCORE_BIN:-/usr/local/bin/appcore}
failed=0

for manifest in "$models"/*/*/manifest.json; do
	[ -e "$manifest" ] || continue
	version=${manifest%/manifest.json}
	name=${version%/*}
	"$appcore" model add "$version" --name "${name##*/}" --version "${version##*/}" --if-absent --activate >/dev/null || failed=1
done
exit "$failed"
