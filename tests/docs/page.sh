# The page /docs in headless Chromium. Limits are on: the page must work with them.
# shellcheck shell=bash disable=SC2154
new_service main
[ -e "$home/build/web/docs/swagger-ui-bundle.js" ] || { not_ok 'the viewer is there' 'run make web' && finished=1 && return 0; }
start
tells env PYTHONDONTWRITEBYTECODE=1 HOME="$dir" /usr/bin/python3 "$here/page.py" "$base" "$key" "$dir/page.png"
[ -z "$keep" ] || echo "a picture of it: $dir/page.png"
