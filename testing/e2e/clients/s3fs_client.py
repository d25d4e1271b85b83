"""s3fs, as pandas and others use S3: files, folders, walks, appends."""

import s3fs

from common import BUCKET, BUCKET_2, CA, DATA, ENDPOINT, LARGE, MIB, SIZES, check, data, equal, large, run

options = {"endpoint_url": ENDPOINT, "verify": CA} if CA else {"endpoint_url": ENDPOINT}
fs = s3fs.S3FileSystem(client_kwargs=options, use_listings_cache=False)


def files():
    """files by bytes, by handle, by seek"""
    for size in SIZES:
        body = data(size)
        fs.pipe(f"{BUCKET}/files/{size}", body)
        equal(fs.cat(f"{BUCKET}/files/{size}"), body, f"{size} bytes")
        equal(fs.size(f"{BUCKET}/files/{size}"), size, "size")
    with fs.open(f"{BUCKET}/files/written", "wb", block_size=5 * MIB) as file:
        for at in range(0, len(body), 300_000):
            file.write(body[at : at + 300_000])
    with fs.open(f"{BUCKET}/files/written", "rb", block_size=MIB) as file:
        file.seek(12_345_678)
        equal(file.read(70_000), body[12_345_678 : 12_345_678 + 70_000], "after a seek")
        file.seek(-100, 2)
        equal(file.read(), body[-100:], "the end")
    with fs.open(f"{BUCKET}/files/written", "ab") as file:
        file.write(b"more")
    equal(fs.cat(f"{BUCKET}/files/written"), body + b"more", "after an append")
    with fs.open(f"{BUCKET}/files/lines", "w") as file:
        file.write("one\ntwo \u00e4\n")
    with fs.open(f"{BUCKET}/files/lines", "r") as file:
        equal(file.readlines(), ["one\n", "two \u00e4\n"], "lines")


def trees():
    """trees: put, find, walk, glob, get, move, remove"""
    fs.put(f"{DATA}/tree", f"{BUCKET}/tree", recursive=True)
    fs.put(LARGE, f"{BUCKET}/large")
    fs.get(f"{BUCKET}/large", "large")
    with open("large", "rb") as file:
        check(file.read() == large(), "a large file came back changed")
    found = fs.find(f"{BUCKET}/tree")
    check(len(found) > 20, f"only {len(found)} files were found")
    for path in found:
        with open(f"{DATA}/tree/" + path.split("/tree/", 1)[1], "rb") as file:
            check(fs.cat(path) == file.read(), f"{path} differs")
    equal(len(fs.glob(f"{BUCKET}/tree/many/00*.bin")), 10, "files by a pattern")
    check(fs.isdir(f"{BUCKET}/tree/many") and fs.isfile(found[0]) and not fs.exists(f"{BUCKET}/tree/none"), "kinds")
    fs.copy(f"{BUCKET}/large", f"{BUCKET_2}/{BUCKET}/large")
    equal(fs.info(f"{BUCKET_2}/{BUCKET}/large")["size"], len(large()), "size of a copy")
    fs.mv(f"{BUCKET_2}/{BUCKET}/large", f"{BUCKET}/moved")
    check(fs.cat(f"{BUCKET}/moved") == large(), "a moved file differs")
    check(not fs.exists(f"{BUCKET_2}/{BUCKET}/large"), "the source of a move is there")
    for name in ("tree", "files"):
        fs.rm(f"{BUCKET}/{name}", recursive=True)
    fs.rm([f"{BUCKET}/large", f"{BUCKET}/moved"])
    equal(fs.find(BUCKET), [], "what is left")


run([files, trees])
