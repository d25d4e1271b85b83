# What the shell scenarios share. The test gives them: S3O_ENDPOINT, S3O_BUCKET, S3O_BUCKET_2, S3O_CA (a file, or
# empty over http), S3O_DATA (files of random bytes, named by their size, and a tree of files), the key pair and
# S3O_LARGE (the largest file to move) in the environment, and a working folder that is theirs.
set -eu

say() { printf '%s\n' "-- $*"; }

fail() {
    printf 'MISMATCH: %s\n' "$*" >&2
    exit 1
}

# same FILE FILE: every byte.
same() { cmp "$1" "$2" || fail "$1 and $2 differ"; }

same_tree() { diff -r "$1" "$2" || fail "$1 and $2 differ"; }

# is WHAT GOT EXPECTED
is() { [ "$2" = "$3" ] || fail "$1 is '$2' and not '$3'"; }

# refused COMMAND...: it must fail.
refused() {
    if "$@" >refused.log 2>&1; then
        cat refused.log
        fail "was not refused: $*"
    fi
}

get() { curl --silent --show-error --fail ${S3O_CA:+--cacert "$S3O_CA"} "$@"; }

status_of() { curl --silent --show-error ${S3O_CA:+--cacert "$S3O_CA"} --output /dev/null --write-out '%{http_code}' "$@"; }
