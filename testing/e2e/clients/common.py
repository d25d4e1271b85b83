"""What the Python scenarios share: where the server is, random bytes, and checks that end the run."""

import hashlib
import os
import random
import sys

ENDPOINT = os.environ["S3O_ENDPOINT"]
BUCKET = os.environ["S3O_BUCKET"]
BUCKET_2 = os.environ["S3O_BUCKET_2"]
CA = os.environ["S3O_CA"] or None
DATA = os.environ["S3O_DATA"]
LARGE = os.environ["S3O_LARGE"]
ACCESS_KEY = os.environ["AWS_ACCESS_KEY_ID"]
SECRET_KEY = os.environ["AWS_SECRET_ACCESS_KEY"]
CHANCE = random.Random(int(os.environ["S3O_SEED"]))

MIB = 1 << 20
SIZES = [0, 1, 4095, 65536, MIB + 3, 20 * MIB + 1]

# Legal keys that a careless server treats as paths, markup or the end of something.
HOSTILE_KEYS = [
    "../x", "../../../../etc/passwd", ".", "..", "./a", "a/./b", "a/../b", "/", "//", "///x", "/leading", "trailing/",
    "a//b", "a b+c%", "%2e%2e%2f", "%00", "plus+plus", "a=b&c=d?e#f", "quote'\"`", "back\\slash", "<xml>&amp;</xml>",
    "]]>", "semi;colon", "tilde~01.02", "$(touch x)", "*?[a-z]", "line\nbreak", "tab\there", "return\rkey", "\x01",
    "\x7f", " leading", "trailing ", "con", "nul.txt", "nul\x00byte", ".s3-orchestrator/x", "u\u0308 and \u00fc", "\u65e5\u672c\u8a9e",
    "\U0001f980/\u2603", "\ufeffbom", "\u202egnp.exe", "a" * 1024, "\u00e9" * 512, "d/" * 512, "x" * 255 + "/" + "y" * 300,
]  # fmt: skip


def say(text):
    print(f"-- {text}", flush=True)


def fail(text):
    print(f"MISMATCH: {text}", file=sys.stderr, flush=True)
    sys.exit(1)


def check(condition, what):
    if not condition:
        fail(what)


def equal(got, expected, what):
    if got != expected:
        fail(f"{what}: got {shown(got)}, expected {shown(expected)}")


def shown(value):
    if isinstance(value, bytes) and len(value) > 64:
        return f"{len(value)} bytes with MD5 {md5(value)}"
    text = repr(value)
    return text if len(text) <= 500 else f"{text[:500]}... ({len(text)} characters)"


def md5(data):
    return hashlib.md5(data).hexdigest()


def data(size):
    return CHANCE.randbytes(size)


def large():
    with open(LARGE, "rb") as file:
        return file.read()


def run(scenarios):
    """Runs all scenarios, or those that are named on the command line."""
    chosen = sys.argv[1:]
    for scenario in scenarios:
        if chosen and scenario.__name__ not in chosen:
            continue
        say(scenario.__doc__.splitlines()[0])
        scenario()
    say("all bytes are the same")
