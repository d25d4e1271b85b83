#!/bin/sh
# aws-cli, the program in S3O_AWS, of the version that S3O_AWS_MAJOR says: cp, sync, mv, rm, ls, presign, and copies within S3.
. "$(dirname "$0")/lib.sh"

aws() { "$S3O_AWS" --endpoint-url "$S3O_ENDPOINT" "$@"; }
s3="s3://$S3O_BUCKET"
large="$(basename "$S3O_LARGE")"

version="$("$S3O_AWS" --version 2>&1)"
case "$version" in
    "aws-cli/$S3O_AWS_MAJOR."*) say "$version" ;;
    *) fail "$S3O_AWS is not version $S3O_AWS_MAJOR but $version; install it with tools/test-env" ;;
esac

for size in 0 1 4096 1048579 20971521 "$large"; do
    say "cp up and down: $size bytes"
    aws s3 cp --no-progress "$S3O_DATA/$size" "$s3/cp/$size"
    aws s3 cp --no-progress "$s3/cp/$size" down
    same "$S3O_DATA/$size" down
done

say "cp from stdin and to stdout"
aws s3 cp - "$s3/stream" <"$S3O_DATA/20971521"
aws s3 cp "$s3/stream" - >down
same "$S3O_DATA/20971521" down

say "cp within S3, which copies by parts, also into another bucket"
aws s3 cp --no-progress "$s3/cp/$large" "$s3/copy of/$large"
aws s3 cp --no-progress "$s3/copy of/$large" down
same "$S3O_LARGE" down
aws s3 cp --no-progress "$s3/cp/1048579" "s3://$S3O_BUCKET_2/$S3O_BUCKET/1048579"
aws s3 cp --no-progress "s3://$S3O_BUCKET_2/$S3O_BUCKET/1048579" down
same "$S3O_DATA/1048579" down

say "metadata goes up, and along with a copy"
aws s3 cp --no-progress "$S3O_DATA/4096" "$s3/meta" --content-type text/x-e2e --metadata colour=blue --cache-control no-store
aws s3 cp --no-progress "$s3/meta" "$s3/meta-copy"
for key in meta meta-copy; do
    head="$(aws s3api head-object --bucket "$S3O_BUCKET" --key "$key" --output text \
        --query '[ContentType, Metadata.colour, CacheControl, ContentLength]' | tr '\t' ' ')"
    is "head of $key" "$head" "text/x-e2e blue no-store 4096"
done

say "sync up, twice: the second time moves nothing"
cp -r "$S3O_DATA/tree" tree
aws s3 sync --no-progress tree "$s3/tree" >up.log
is "uploads" "$(grep -c '^upload:' up.log)" "$(find tree -type f | wc -l)"
is "the second sync's output" "$(aws s3 sync --no-progress tree "$s3/tree")" ""

say "sync down, twice: the second time moves nothing"
aws s3 sync --no-progress "$s3/tree" back >down.log
same_tree tree back
is "the second sync's output" "$(aws s3 sync --no-progress "$s3/tree" back)" ""

say "sync of what changed, with --delete"
rm tree/a/1.bin
head -c 777 "$S3O_DATA/4096" >tree/new.bin
is "lines of a sync" "$(aws s3 sync --no-progress --delete tree "$s3/tree" | wc -l)" 2
aws s3 sync --no-progress --delete "$s3/tree" back >/dev/null
same_tree tree back

say "sync within S3"
aws s3 sync --no-progress "$s3/tree" "s3://$S3O_BUCKET_2/$S3O_BUCKET/tree" >/dev/null
aws s3 cp --no-progress --recursive "s3://$S3O_BUCKET_2/$S3O_BUCKET/tree" back2 >/dev/null
same_tree tree back2

say "ls"
aws s3 ls --recursive --summarize "$s3/tree/" >ls.log
is "objects" "$(sed -n 's/.*Total Objects: *//p' ls.log)" "$(find tree -type f | wc -l)"
is "bytes" "$(sed -n 's/.*Total Size: *//p' ls.log)" "$(find tree -type f -printf '%s\n' | awk '{n += $1} END {print n}')"
is "folders" "$(aws s3 ls "$s3/tree/" | grep -c ' PRE ')" "$(find tree -mindepth 1 -maxdepth 1 -type d | wc -l)"
aws s3 ls | grep -q " $S3O_BUCKET_2\$" || fail "ls does not show $S3O_BUCKET_2"

say "mv up, within, and down"
cp "$S3O_DATA/1048579" moving
aws s3 mv --no-progress moving "$s3/moved/1"
[ ! -e moving ] || fail "mv left its source"
aws s3 mv --no-progress "$s3/moved/1" "$s3/moved/2"
refused aws s3 ls "$s3/moved/1"
aws s3 mv --no-progress "$s3/moved/2" moved
same "$S3O_DATA/1048579" moved
refused aws s3 ls "$s3/moved/"

say "presign"
# Version 1 signs URLs by the old signature (version 2) unless it is told otherwise, which no newer region takes.
printf '[default]\ns3 =\n  signature_version = s3v4\n' >aws-config
url="$(AWS_CONFIG_FILE="$PWD/aws-config" aws s3 presign "$s3/cp/1048579" --expires-in 600)"
get "$url" >down
same "$S3O_DATA/1048579" down
get --range 1000-1999 "$url" >down
tail -c +1001 "$S3O_DATA/1048579" | head -c 1000 | cmp - down || fail "the range of a presigned read differs"
is "status of a presigned read of another key" "$(status_of "$(printf '%s' "$url" | sed 's#/cp/1048579#/cp/4096#')")" 403
is "status of an unsigned read" "$(status_of "$S3O_ENDPOINT/$S3O_BUCKET/cp/4096")" 403

say "rm"
aws s3 rm "$s3/cp/0"
refused aws s3 ls "$s3/cp/0"
aws s3 rm --recursive --quiet "$s3/"
is "what is left" "$(aws s3 ls --recursive "$s3/")" ""
aws s3 rm --recursive --quiet "s3://$S3O_BUCKET_2/$S3O_BUCKET/"
refused aws s3 cp --no-progress "$s3/stream" down
refused aws s3 ls "s3://no-such-bucket-here"
say "aws-cli: all bytes are the same"
