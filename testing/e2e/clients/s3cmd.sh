#!/bin/sh
# s3cmd: put, get, sync, ls, du, info, cp, mv, del.
. "$(dirname "$0")/lib.sh"

address="${S3O_ENDPOINT#*://}"
cat >s3cfg <<END
[default]
access_key = $AWS_ACCESS_KEY_ID
secret_key = $AWS_SECRET_ACCESS_KEY
host_base = $address
host_bucket = $address
use_https = $(if [ -n "$S3O_CA" ]; then echo True; else echo False; fi)
ca_certs_file = $S3O_CA
multipart_chunk_size_mb = 5
max_retries = 1
END
run() { s3cmd --config "$PWD/s3cfg" --no-progress "$@"; }
s3="s3://$S3O_BUCKET"

s3cmd --version

for size in 0 1 4096 1048579 20971521; do
    say "put and get: $size bytes"
    run put "$S3O_DATA/$size" "$s3/one/$size"
    rm -f down
    run get "$s3/one/$size" down
    same "$S3O_DATA/$size" down
done

say "sync up and down; the second time moves nothing"
run sync "$S3O_DATA/tree/" "$s3/tree/" >/dev/null
is "uploads of the second sync" "$(run sync "$S3O_DATA/tree/" "$s3/tree/" | grep -c '^upload:' || true)" 0
mkdir back
run sync "$s3/tree/" back/ >/dev/null
same_tree "$S3O_DATA/tree" back
is "downloads of the second sync" "$(run sync "$s3/tree/" back/ | grep -c '^download:' || true)" 0

say "ls, du, info"
is "objects" "$(run ls --recursive "$s3/tree/" | wc -l)" "$(find back -type f | wc -l)"
is "folders" "$(run ls "$s3/tree/" | grep -c DIR)" "$(find back -mindepth 1 -maxdepth 1 -type d | wc -l)"
is "bytes" "$(run du "$s3/tree/" | awk '{print $1}')" "$(find back -type f -printf '%s\n' | awk '{n += $1} END {print n}')"
run info "$s3/one/4096" | grep -q 'File size: *4096' || fail "info tells another size"

say "cp and mv, also into another bucket"
run cp "$s3/one/20971521" "$s3/two/copy"
run mv "$s3/two/copy" "s3://$S3O_BUCKET_2/$S3O_BUCKET/moved"
is "what is left of the source" "$(run ls "$s3/two/")" ""
rm -f down
run get "s3://$S3O_BUCKET_2/$S3O_BUCKET/moved" down
same "$S3O_DATA/20971521" down

say "del"
run del "$s3/one/0" "s3://$S3O_BUCKET_2/$S3O_BUCKET/moved"
refused run info "$s3/one/0"
run del --recursive --force "$s3/" >/dev/null
is "what is left" "$(run ls --recursive "$s3/")" ""
say "s3cmd: all bytes are the same"
