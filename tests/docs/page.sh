# The page /docs in headless Chromium. Limits are on: the page must work with them.
# shellcheck shell=bash disable=SC2154
[ -e "$home/build/web/docs/swagger-ui-bundle.js" ] || { echo 'the viewer is missing: run make web' >&2 && false; }
service main RATE_LIMIT_PER_MINUTE=100
tells env PYTHONDONTWRITEBYTECODE=1 HOME="$dir" /usr/bin/python3 "$here/page.py" "$base" "$key" "$dir/page.png"
[ -z "$keep" ] || echo "a picture of it: $dir/page.png"
