#!/bin/sh
# rclone: copy, sync, check, cat, size, lsf, moveto, deletefile, purge.
. "$(dirname "$0")/lib.sh"

export RCLONE_CONFIG="$PWD/rclone.conf" RCLONE_CACHE_DIR="$PWD/rclone-cache" RCLONE_RETRIES=1 RCLONE_LOW_LEVEL_RETRIES=1
cat >"$RCLONE_CONFIG" <<END
[s3o]
type = s3
provider = Other
access_key_id = $AWS_ACCESS_KEY_ID
secret_access_key = $AWS_SECRET_ACCESS_KEY
endpoint = $S3O_ENDPOINT
END
# Its SDK dies of this variable; --ca-cert says the same.
unset AWS_CA_BUNDLE
run() { rclone ${S3O_CA:+--ca-cert "$S3O_CA"} "$@"; }
s3="s3o:$S3O_BUCKET"
large="$(basename "$S3O_LARGE")"

rclone version | head -n 1

for size in 0 1 4096 1048579 20971521 "$large"; do
    say "copyto up and down: $size bytes"
    run copyto --s3-upload-cutoff 10M "$S3O_DATA/$size" "$s3/one/$size"
    run copyto "$s3/one/$size" down
    same "$S3O_DATA/$size" down
done

say "copy a tree, and check it by hash and by bytes"
run copy "$S3O_DATA/tree" "$s3/tree"
run check "$S3O_DATA/tree" "$s3/tree" 2>check.log || { cat check.log; fail "check finds differences"; }
run check --download "$S3O_DATA/tree" "$s3/tree" 2>check.log || { cat check.log; fail "check --download finds differences"; }

say "sync both ways; the second time moves nothing"
run sync "$s3/tree" back
same_tree "$S3O_DATA/tree" back
run sync -v "$s3/tree" back 2>again.log
if grep -q ': Copied' again.log; then cat again.log; fail "the second sync down moved something"; fi
run sync -v back "$s3/tree" 2>again.log
if grep -q ': Copied' again.log; then cat again.log; fail "the sync up moved something"; fi
rm back/a/1.bin
head -c 777 "$S3O_DATA/4096" >back/new.bin
run sync back "$s3/tree"
run check back "$s3/tree" 2>check.log || { cat check.log; fail "after a sync, check finds differences"; }

say "cat, also of a part"
run cat "$s3/one/1048579" >down
same "$S3O_DATA/1048579" down
run cat --offset 1000 --count 1000 "$s3/one/1048579" >down
tail -c +1001 "$S3O_DATA/1048579" | head -c 1000 | cmp - down || fail "a part of a file differs"

say "rcat: a stream of unknown length"
run rcat --streaming-upload-cutoff 1M "$s3/stream" <"$S3O_DATA/20971521"
run cat "$s3/stream" >down
same "$S3O_DATA/20971521" down

say "size, lsf, md5sum"
is "objects" "$(run size --json "$s3/tree" | sed 's/.*"count":\([0-9]*\).*/\1/')" "$(find back -type f | wc -l)"
is "names" "$(run lsf -R --files-only "$s3/tree" | LC_ALL=C sort)" "$(cd back && find . -type f | cut -c 3- | LC_ALL=C sort)"
is "md5" "$(run md5sum "$s3/one/4096" | cut -d ' ' -f 1)" "$(md5sum <"$S3O_DATA/4096" | cut -d ' ' -f 1)"

say "copy and move within S3"
run copyto "$s3/one/$large" "$s3/two/$large"
run moveto "$s3/two/$large" "$s3/three/$large"
is "what is left of the source" "$(run lsf "$s3/two")" ""
run copyto "$s3/three/$large" down
same "$S3O_LARGE" down
run copy "$s3/tree" "s3o:$S3O_BUCKET_2/$S3O_BUCKET"
run check --download back "s3o:$S3O_BUCKET_2/$S3O_BUCKET" 2>check.log || { cat check.log; fail "in the other bucket, check finds differences"; }

say "deletefile, purge"
run deletefile "$s3/one/4096"
is "what is left" "$(run lsf "$s3/one/" | grep -cx 4096 || true)" 0
run purge "s3o:$S3O_BUCKET_2/$S3O_BUCKET"
for folder in one tree three; do run purge "$s3/$folder"; done
run deletefile "$s3/stream"
is "what is left" "$(run lsf -R "$s3")" ""
say "rclone: all bytes are the same"
