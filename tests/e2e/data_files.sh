# Files: uploads in pieces and at once, through nginx and over workers that die; downloads with ranges; exports.
# shellcheck shell=bash disable=SC2154
service main INSTANCES=2 WORKERS=1 TASK_LEASE_SECONDS=2 SCHEDULE_INGEST=off UPLOAD_BYTES=60000000 PIPELINES_DIR="$home/pipelines" \
	SECRET_KEY=0123456789abcdef0123456789abcdef-e2e

json=(-H 'Content-Type: application/json')
log_in() { # NAME: sets the array bearer
	req POST /api/v1/auth/register "${json[@]}" -d "{\"username\":\"$1\",\"email\":\"$1@example.com\",\"password\":\"testpass123\"}"
	req POST /api/v1/auth/login -d "username=$1&password=testpass123"
	bearer=(-H "Authorization: Bearer $(jq -r .access_token <<<"$body")")
}
log_in eve
stranger=("${bearer[@]}")
log_in ada

memory() { # the largest resident set that a worker has had, in kB
	local i most=0 kb
	for i in 1 2; do
		kb=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$(worker_pid "$i")/status")
		[ "$kb" -le "$most" ] || most=$kb
	done
	echo "$most"
}
field() { jq -r ".$1" <<<"$body"; }
uploads=/api/v1/data/uploads
piece() { # ID OFFSET FILE [CURL OPTIONS...]
	local id=$1 offset=$2 file=$3
	shift 3
	req PATCH "$uploads/$id" "${bearer[@]}" -H 'Content-Type: application/offset+octet-stream' -H "Upload-Offset: $offset" \
		--data-binary "@$file" "$@"
}

# --- a whole file ---

head -c 50000000 /dev/urandom >"$dir/large"
sum=$(sha256sum <"$dir/large" | cut -d ' ' -f 1)
before=$(memory)
req PUT "$uploads?name=large.bin&sha256=$sum" "${bearer[@]}" -T "$dir/large" -H 'Content-Type: application/octet-stream' -H 'Expect:'
is 'a file of 50 MB in one request (C-037)' "$status $(field complete) $(field received)" '201 true 50000000'
is 'is told where it is' "${h[location]}" "$uploads/$(field upload_id)"
id=$(field upload_id)
curl -sS -4 -m 60 --cacert "$scratch/tls/cert.pem" "${bearer[@]}" -D "$dir/head" -o "$dir/got" "$base/files/$id/download"
is 'its download is the same (C-037)' "$(sha256sum <"$dir/got" | cut -d ' ' -f 1)" "$sum"
like 'and can be saved' "$(<"$dir/head")" 'content-disposition: attachment; filename="large.bin"'
at_most 'memory stays flat, kB' "$(($(memory) - before))" 12000
req GET "/api/v1/files/$id/download" "${bearer[@]}" -H 'Range: bytes=49999990-'
is 'a range' "$status ${h["content-range"]:-} ${h["content-length"]}" '206 bytes 49999990-49999999/50000000 10'
req GET "/files/$id/download" "${stranger[@]}"
answer 'not for others' 404 '{"detail":"File not found"}'
req GET "/.appcore/files/uploads/$id/large.bin" "${bearer[@]}"
is 'and not past the workers' "$status" 404
req GET "/.appcore/files/../appcore.db" "${bearer[@]}"
is 'nor anything else' "$status" 404

head -c 60000001 /dev/zero >"$dir/larger"
req PUT "$uploads?name=larger" "${bearer[@]}" -T "$dir/larger" -H 'Expect:'
answer 'larger than UPLOAD_BYTES' 413 '{"detail":"Request body is too large."}'
req PUT "$uploads?name=..%2f..%2fevil" "${bearer[@]}" -d x
is 'a name with folders' "$status $(field detail[0].msg)" '422 A name must not begin with a dot'
req PUT "$uploads?name=a" -T "$dir/large" -H 'Expect:'
is 'nobody in particular' "$status" 401
rm "$dir/large" "$dir/larger" "$dir/got"

# --- pieces, and a worker that dies ---

for i in {1..40000}; do echo "$i,$((i * 7)),some text of a row"; done >"$dir/rows"
split -b 300000 -d -a 1 "$dir/rows" "$dir/part"
bytes=$(stat -c %s "$dir/rows")
sum=$(sha256sum <"$dir/rows" | cut -d ' ' -f 1)
req POST "$uploads" "${bearer[@]}" "${json[@]}" -d "{\"name\":\"rows.csv\",\"bytes\":$bytes,\"sha256\":\"$sum\"}"
is 'an upload begins' "$status ${h["upload-offset"]} ${h["upload-length"]}" "201 0 $bytes"
id=$(field upload_id)
piece "$id" 0 "$dir/part0"
is 'a piece' "$status ${h["upload-offset"]}" '204 300000'
piece "$id" 0 "$dir/part0"
is 'the same again' "$status ${h["upload-offset"]}" '409 300000'
for i in 1 2; do kill -9 "$(worker_pid "$i")"; done
printf 'garbage' >>"$dir/data/uploads/$id/.part" # that a dead worker had written
answers() { req HEAD "$uploads/$id" "${bearer[@]}" && [ "$status" = 200 ]; }
within 'the workers come back' 30 answers
is 'the offset is as it was' "${h["upload-offset"]}" 300000
offset=300000
for part in "$dir"/part[1-9]; do
	piece "$id" "$offset" "$part"
	offset=$((offset + $(stat -c %s "$part")))
done
is 'the last piece' "$status ${h["upload-offset"]}" "204 $bytes"
req GET "/files/$id/download" "${bearer[@]}"
is 'the file is whole' "$(sha256sum <"$dir/body" | cut -d ' ' -f 1)" "$sum"

req POST "$uploads" "${bearer[@]}" "${json[@]}" -d '{"name":"twice","bytes":600000}'
id=$(field upload_id)
head -c 300000 /dev/zero >"$dir/zeros"
for i in 1 2 3 4; do
	curl -sS -4 -m 30 --cacert "$scratch/tls/cert.pem" -o /dev/null -w '%{http_code}\n' -X PATCH "${bearer[@]}" \
		-H 'Content-Type: application/offset+octet-stream' -H 'Upload-Offset: 0' --data-binary "@$dir/zeros" "$base$uploads/$id" &
done >"$dir/codes"
wait
is 'four pieces at once: one is taken' "$(grep -c 204 "$dir/codes")" 1
is 'the others hear of it' "$(grep -c -e 409 -e 423 "$dir/codes")" 3
req DELETE "$uploads/$id" "${bearer[@]}"
is 'it can be deleted' "$status" 204
req GET "$uploads/$id" "${bearer[@]}"
is 'and is gone' "$status $([ -e "$dir/data/uploads/$id" ] || echo gone)" '404 gone'

# --- a pipeline runs over it ---

{
	echo 'id,value,category'
	for i in {1..500}; do echo "u$i,$((i % 9)).5,A"; done
} >"$dir/products.csv"
req PUT "$uploads?name=products.csv&pipeline=dataflow" "${bearer[@]}" -T "$dir/products.csv"
is 'with a pipeline' "$status $(field pipeline)" '201 dataflow'
file=$(field upload_id)
run=$(field run_id)
run_is_over() { [[ $(sql "SELECT state FROM data_runs WHERE id = '$run'") =~ ^(completed|failed)$ ]]; }
within 'its run ends' 60 run_is_over
is 'and has read the file' "$(sql "SELECT state, rows_read FROM data_runs WHERE id = '$run'")" 'completed|500'
req GET "/files/$file/download" "${bearer[@]}"
is 'which can be had from the archive' "$(cksum <"$dir/body")" "$(cksum <"$dir/products.csv")"

# --- exports ---

exports=/api/v1/data/exports
export_of() { # JSON: waits for it; the last answer tells of it
	req POST "$exports" "${bearer[@]}" "${json[@]}" -d "$1"
	[ "$status" = 202 ] || return 0
	id=$(field export_id)
	export_is_over() { req GET "$exports/$id" "${bearer[@]}" && [[ $(field state) =~ ^(completed|failed|dead)$ ]]; }
	within "the export of $1" 60 export_is_over
}
export_of '{"pipeline":"dataflow","format":"jsonl","fields":[]}'
is 'all records' "$(field state) $(field rows)" 'completed 500'
bytes=$(field bytes)
req GET "$(field file)" "${bearer[@]}"
is 'in a file' "$status $(wc -c <"$dir/body") $(wc -l <"$dir/body") ${h["content-type"]}" "200 $bytes 500 application/x-ndjson"
is 'one JSON object a line' "$(jq -s 'length' "$dir/body")" 500
like 'with a name' "${h["content-disposition"]}" 'filename="dataflow.jsonl"'
req GET "$exports/$id/file" "${stranger[@]}"
answer 'not for others' 404 '{"detail":"Export not found"}'
req GET "$exports/$id/file" "${bearer[@]}" -H 'Range: bytes=0-9'
is 'a range' "$status ${h["content-length"]}" '206 10'
export_of '{"pipeline":"dataflow","filters":{"value.gt":8},"gzip":true,"fields":["id","value"]}'
is 'a condition' "$(field state) $(field rows)" "completed $(sql "SELECT count(*) FROM data_records WHERE CAST(data AS TEXT) LIKE '%8.5%'")"
rows=$(field rows)
req GET "$(field file)" "${bearer[@]}"
is 'compressed CSV' "$status $(gunzip <"$dir/body" | head -n 1 | tr -d '\r') $(gunzip <"$dir/body" | wc -l)" "200 id,value $((rows + 1))"
export_of '{"pipeline":"dataflow","format":"json"}'
req GET "$(field file)" "${bearer[@]}"
is 'a JSON array' "$(jq length "$dir/body")" 500
req POST "$exports" "${bearer[@]}" "${json[@]}" -d '{"pipeline":"none"}'
is 'no such pipeline' "$status" 404
req POST "$exports" "${bearer[@]}" "${json[@]}" -d '{"pipeline":"dataflow","format":"xls"}'
is 'no such format' "$status" 422
change "DELETE FROM background_tasks WHERE task_id = '$id'"
touch -d '3 days ago' "$dir/data/exports/$id.json"
stale=$dir/data/exports/$id.json

# --- what is old ends ---

req POST "$uploads" "${bearer[@]}" "${json[@]}" -d '{"name":"old","bytes":10}'
id=$(field upload_id)
piece "$id" 0 <(printf 12345)
change "UPDATE data_uploads SET expires_us = 1 WHERE id = '$id'"
mkdir "$dir/data/uploads/01900000-0000-7000-8000-000000000001"
touch -d '3 days ago' "$dir/data/uploads/01900000-0000-7000-8000-000000000001"
appcore task add expiry >/dev/null
expired() { [ ! -e "$stale" ] && [ ! -e "$dir/data/uploads/$id" ] && [ ! -e "$dir/data/uploads/01900000-0000-7000-8000-000000000001" ]; }
within 'an unfinished upload expires, and the files that belong to nothing' 30 expired
req GET "$uploads/$id" "${bearer[@]}"
is 'it is not told of' "$status" 404
req GET "/files/$file/download" "${bearer[@]}"
is 'others stay' "$status" 200
