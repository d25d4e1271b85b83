#!/bin/sh
# restic: init, backup, check, forget and prune, restore.
. "$(dirname "$0")/lib.sh"

export RESTIC_PASSWORD=e2e RESTIC_CACHE_DIR="$PWD/restic-cache" RESTIC_REPOSITORY="s3:$S3O_ENDPOINT/$S3O_BUCKET/repo"
run() { restic --quiet ${S3O_CA:+--cacert "$S3O_CA"} "$@"; }

restic version

say "init, and a second init is refused"
run init
refused run init

say "backup of a tree and some large files"
mkdir source
cp -r "$S3O_DATA/tree" source/tree
for size in 0 1 1048579 20971521; do cp "$S3O_DATA/$size" source/; done
cp "$S3O_LARGE" source/large
run backup source
run check --read-data

say "change, backup again"
cp -r source first
rm source/large source/tree/a/1.bin
head -c 12345678 "$S3O_DATA/20971521" >source/new
run backup source
is "snapshots" "$(restic ${S3O_CA:+--cacert "$S3O_CA"} snapshots --json | grep -o '"short_id"' | wc -l)" 2

say "restore both"
run restore latest --target latest
same_tree source latest/source
first="$(restic ${S3O_CA:+--cacert "$S3O_CA"} snapshots --json | grep -o '"short_id":"[^"]*"' | head -n 1 | cut -d '"' -f 4)"
run restore "$first" --target oldest
same_tree first oldest/source

say "forget the first, prune, check all bytes, restore without a cache"
run forget --prune --max-unused 0 "$first"
run check --read-data
run restore latest --no-cache --target pruned
same_tree source pruned/source

say "two backups at once"
run backup first &
one=$!
run backup source
wait "$one" || fail "the backup beside it failed"
run check --read-data
say "restic: all bytes are the same"
