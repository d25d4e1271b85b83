"""boto3: single objects. Bodies, metadata, ranges, conditions, checksums, tags, attributes, copies, keys."""

import base64
import hashlib
import zlib
from datetime import datetime, timedelta, timezone

from boto3_client import error_of, refused, s3
from common import BUCKET, BUCKET_2, HOSTILE_KEYS, MIB, SIZES, check, data, equal, md5, run

ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]


def read(key, **options):
    return s3.get_object(Bucket=BUCKET, Key=key, **options)["Body"].read()


def put(key, body=b"", **options):
    return s3.put_object(Bucket=BUCKET, Key=key, Body=body, **options)


def bodies():
    """bodies of several sizes, and their overwriting"""
    for size in SIZES:
        body = data(size)
        answer = put(f"bodies/{size}", body)
        equal(answer["ETag"], f'"{md5(body)}"', f"ETag of {size} bytes")
        got = s3.get_object(Bucket=BUCKET, Key=f"bodies/{size}")
        equal(got["Body"].read(), body, f"body of {size} bytes")
        equal((got["ContentLength"], got["ETag"]), (size, answer["ETag"]), "head of a body")
        equal(got["AcceptRanges"], "bytes", "Accept-Ranges")
        head = s3.head_object(Bucket=BUCKET, Key=f"bodies/{size}")
        equal((head["ContentLength"], head["ETag"]), (size, answer["ETag"]), "answer to HEAD")
        age = abs(datetime.now(timezone.utc) - head["LastModified"])
        check(age < timedelta(minutes=5), f"LastModified is {age} away from now")
        put(f"bodies/{size}", body[::-1] + b"!")
        equal(read(f"bodies/{size}"), body[::-1] + b"!", "overwritten body")
    refused("NoSuchKey", 404, s3.get_object, Bucket=BUCKET, Key="bodies/none")
    refused("404", 404, s3.head_object, Bucket=BUCKET, Key="bodies/none")
    s3.delete_object(Bucket=BUCKET, Key="bodies/1")
    refused("NoSuchKey", 404, s3.get_object, Bucket=BUCKET, Key="bodies/1")
    equal(s3.delete_object(Bucket=BUCKET, Key="bodies/1")["ResponseMetadata"]["HTTPStatusCode"], 204, "a second delete")


def metadata():
    """headers and user metadata, and their overrides in an answer"""
    expires = datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
    sent = {
        "ContentType": "text/x-e2e; charset=utf-8",
        "CacheControl": "max-age=60, private",
        "ContentDisposition": 'attachment; filename="a b.txt"',
        "ContentEncoding": "x-own",
        "ContentLanguage": "de, en",
        "Metadata": {"colour": "blue", "empty": "", "with-spaces": "a  b", "x.y_z": "1=2;3,4", "long": "v" * 1500},
    }
    put("metadata", b"abc", Expires=expires, **sent)
    for answer in (s3.head_object(Bucket=BUCKET, Key="metadata"), s3.get_object(Bucket=BUCKET, Key="metadata")):
        for name, value in sent.items():
            equal(answer[name], value, name)
        equal(answer["ExpiresString"], "Tue, 06 May 2031 07:08:09 GMT", "Expires")
    overridden = s3.get_object(
        Bucket=BUCKET,
        Key="metadata",
        ResponseContentType="image/x",
        ResponseCacheControl="no-store",
        ResponseContentDisposition="inline",
        ResponseContentEncoding="y-own",
        ResponseContentLanguage="fr",
    )
    got = [overridden[name] for name in list(sent)[:5]]
    equal(got, ["image/x", "no-store", "inline", "y-own", "fr"], "overridden headers")
    put("metadata", b"abc")
    head = s3.head_object(Bucket=BUCKET, Key="metadata")
    equal((head["Metadata"], head["ContentType"]), ({}, "binary/octet-stream"), "metadata after an overwrite without")
    refused("MetadataTooLarge", 400, put, "metadata", b"abc", Metadata={"a": "v" * 2100})


def ranges():
    """ranges"""
    body = data(3 * MIB + 17)
    size = len(body)
    put("ranges", body)
    for text, start, end in [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=65535-65536", 65535, 65536),
        (f"bytes=1000000-{size - 1}", 1000000, size - 1),
        ("bytes=3000000-", 3000000, size - 1),
        ("bytes=-1", size - 1, size - 1),
        (f"bytes=-{size + 5}", 0, size - 1),
        (f"bytes=5-{size + 5}", 5, size - 1),
    ]:
        answer = s3.get_object(Bucket=BUCKET, Key="ranges", Range=text)
        equal(answer["Body"].read(), body[start : end + 1], text)
        equal(answer["ContentRange"], f"bytes {start}-{end}/{size}", f"Content-Range of {text}")
        equal(answer["ResponseMetadata"]["HTTPStatusCode"], 206, f"status of {text}")
        head = s3.head_object(Bucket=BUCKET, Key="ranges", Range=text)
        equal(head["ContentLength"], end + 1 - start, f"length by HEAD of {text}")
    for text in [f"bytes={size}-", "bytes=-0"]:
        refused("InvalidRange", 416, s3.get_object, Bucket=BUCKET, Key="ranges", Range=text)
    for text in ["bytes=5-4", "lines=1-2", "bytes=0-1,4-5"]:
        equal(read("ranges", Range=text), body, f"{text}, which S3 ignores")
    put("ranges/empty", b"")
    refused("InvalidRange", 416, s3.get_object, Bucket=BUCKET, Key="ranges/empty", Range="bytes=0-0")


def conditions():
    """conditional reads and writes"""
    first = put("conditions", b"first", IfNoneMatch="*")["ETag"]
    refused("PreconditionFailed", 412, put, "conditions", b"second", IfNoneMatch="*")
    equal(read("conditions"), b"first", "the body after a refused write")
    refused("PreconditionFailed", 412, put, "conditions", b"second", IfMatch='"0123456789abcdef0123456789abcdef"')
    refused("NoSuchKey", 404, put, "conditions/none", b"second", IfMatch=first)
    second = put("conditions", b"second", IfMatch=first)["ETag"]
    refused("PreconditionFailed", 412, put, "conditions", b"third", IfMatch=first)
    past = datetime.now(timezone.utc) - timedelta(days=1)
    ahead = datetime.now(timezone.utc) + timedelta(hours=1)
    for get in (s3.get_object, s3.head_object):
        where = {"Bucket": BUCKET, "Key": "conditions"}
        for good in [
            {"IfMatch": second},
            {"IfMatch": "*"},
            {"IfNoneMatch": first},
            {"IfModifiedSince": past},
            {"IfUnmodifiedSince": ahead},
            {"IfMatch": second, "IfUnmodifiedSince": past},
            {"IfNoneMatch": first, "IfModifiedSince": past},
        ]:
            equal(get(**where, **good)["ETag"], second, f"answer to {good}")
        code = "412" if get == s3.head_object else "PreconditionFailed"
        for bad in [{"IfMatch": first}, {"IfUnmodifiedSince": past}]:
            refused(code, 412, get, **where, **bad)
        for same in [{"IfNoneMatch": second}, {"IfNoneMatch": second, "IfModifiedSince": past}, {"IfModifiedSince": datetime.now(timezone.utc)}]:
            refused("304", 304, get, **where, **same)
    refused("PreconditionFailed", 412, s3.delete_object, Bucket=BUCKET, Key="conditions", IfMatch=first)
    s3.delete_object(Bucket=BUCKET, Key="conditions", IfMatch=second)
    refused("NoSuchKey", 404, s3.get_object, Bucket=BUCKET, Key="conditions")
    put("conditions", b"fourth", IfNoneMatch="*")


def digest(algorithm, body):
    """A checksum by code that is not the SDK's, where Python has it."""
    if algorithm == "CRC32":
        raw = zlib.crc32(body).to_bytes(4, "big")
    elif algorithm in ("SHA1", "SHA256"):
        raw = hashlib.new(algorithm.lower(), body).digest()
    else:
        import awscrt.checksums

        if algorithm == "CRC32C":
            raw = awscrt.checksums.crc32c(body).to_bytes(4, "big")
        else:
            raw = awscrt.checksums.crc64nvme(body).to_bytes(8, "big")
    return base64.b64encode(raw).decode()


def checksums():
    """every checksum algorithm, right and wrong"""
    for algorithm in ALGORITHMS:
        for size in (0, 5, 300_000):
            body = data(size)
            key, field = f"checksums/{algorithm}/{size}", f"Checksum{algorithm}"
            right = digest(algorithm, body)
            equal(put(key, body, ChecksumAlgorithm=algorithm)[field], right, f"{algorithm} in a trailer or header")
            equal(put(key, body, **{field: right})[field], right, f"{algorithm} given")
            answer = s3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
            equal((answer[field], answer["ChecksumType"]), (right, "FULL_OBJECT"), f"{algorithm} by GET")
            equal(answer["Body"].read(), body, "body")
            equal(s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")[field], right, f"{algorithm} by HEAD")
            check(field not in s3.head_object(Bucket=BUCKET, Key=key), f"{algorithm} came without being asked for")
            wrong = digest(algorithm, body + b"?")
            refused("BadDigest", 400, put, key, body + b"!", **{field: wrong})
            equal(read(key), body, "the body after a refused write")
        refused("InvalidRequest", 400, put, key, body, **{field: "c2hvcnQ="})
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="checksums/SHA1/")["Contents"]
    equal([item["ChecksumAlgorithm"] for item in listed], [["SHA1"]] * 3, "algorithms in a list")
    refused("BadDigest", 400, put, "checksums/md5", b"body", ContentMD5=base64.b64encode(bytes(16)).decode())
    refused("InvalidDigest", 400, put, "checksums/md5", b"body", ContentMD5="c2hvcnQ=")
    put("checksums/md5", b"body", ContentMD5=base64.b64encode(hashlib.md5(b"body").digest()).decode())
    put("checksums/default", b"body")
    default = s3.head_object(Bucket=BUCKET, Key="checksums/default", ChecksumMode="ENABLED")
    check(any(f"Checksum{name}" in default for name in ALGORITHMS), "the SDK's own checksum was not kept")


def tags():
    """tags: with the object, apart from it, along with a copy"""
    put("tags", b"x", Tagging="colour=blue&with%20space=a%2Bb")
    where = {"Bucket": BUCKET, "Key": "tags"}
    equal(tags_of("tags"), {"colour": "blue", "with space": "a+b"}, "tags of an upload")
    equal(s3.get_object(**where)["TagCount"], 2, "count of tags")
    s3.put_object_tagging(**where, Tagging={"TagSet": [{"Key": "k", "Value": "\u00e4 v"}, {"Key": "e", "Value": ""}]})
    equal(tags_of("tags"), {"k": "\u00e4 v", "e": ""}, "tags put")
    source = {"Bucket": BUCKET, "Key": "tags"}
    s3.copy_object(Bucket=BUCKET, Key="tags/copy", CopySource=source)
    equal(tags_of("tags/copy"), {"k": "\u00e4 v", "e": ""}, "tags of a copy")
    s3.copy_object(Bucket=BUCKET, Key="tags/copy", CopySource=source, TaggingDirective="REPLACE", Tagging="n=1")
    equal(tags_of("tags/copy"), {"n": "1"}, "tags replaced by a copy")
    equal(s3.delete_object_tagging(**where)["ResponseMetadata"]["HTTPStatusCode"], 204, "status")
    equal(tags_of("tags"), {}, "tags deleted")
    check("TagCount" not in s3.get_object(**where), "a count of no tags")
    put("tags", b"y", Tagging="a=b")
    put("tags", b"z")
    equal(tags_of("tags"), {}, "tags after an overwrite")
    twice = {"TagSet": [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}]}
    refused("InvalidTag", 400, s3.put_object_tagging, **where, Tagging=twice)
    many = {"TagSet": [{"Key": f"k{n}", "Value": ""} for n in range(11)]}
    refused("InvalidTag", 400, s3.put_object_tagging, **where, Tagging=many)
    refused("NoSuchKey", 404, s3.get_object_tagging, Bucket=BUCKET, Key="tags/none")


def tags_of(key):
    return {tag["Key"]: tag["Value"] for tag in s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]}


def attributes():
    """GetObjectAttributes"""
    body = data(1000)
    put("attributes", body, ChecksumAlgorithm="SHA256")
    names = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    answer = s3.get_object_attributes(Bucket=BUCKET, Key="attributes", ObjectAttributes=names)
    equal(answer["ETag"], md5(body), "ETag, which has no quotes here")
    equal(answer["ObjectSize"], 1000, "size")
    equal(answer["StorageClass"], "STANDARD", "storage class")
    equal(answer["Checksum"]["ChecksumSHA256"], digest("SHA256", body), "checksum")
    some = s3.get_object_attributes(Bucket=BUCKET, Key="attributes", ObjectAttributes=["ObjectSize"])
    check("ETag" not in some and some["ObjectSize"] == 1000, "more than was asked for")
    arguments = {"Bucket": BUCKET, "Key": "attributes/none", "ObjectAttributes": ["ETag"]}
    refused("NoSuchKey", 404, s3.get_object_attributes, **arguments)


def copies():
    """copies, within a bucket and across"""
    body = data(2 * MIB + 3)
    etag = put("copy +source/\u00e4", body, ContentType="text/x-e2e", Metadata={"a": "1"}, ChecksumAlgorithm="SHA256")["ETag"]
    source = {"Bucket": BUCKET, "Key": "copy +source/\u00e4"}
    for bucket in (BUCKET, BUCKET_2):
        key = f"{BUCKET}/copies"
        answer = s3.copy_object(Bucket=bucket, Key=key, CopySource=source)
        equal(answer["CopyObjectResult"]["ETag"], etag, "ETag of a copy")
        got = s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        equal((got["Metadata"], got["ContentType"]), ({"a": "1"}, "text/x-e2e"), "metadata of a copy")
        equal(got["ChecksumSHA256"], digest("SHA256", body), "checksum of a copy")
        equal(got["Body"].read(), body, "body of a copy")
        s3.copy_object(Bucket=bucket, Key=key, CopySource=source, MetadataDirective="REPLACE", Metadata={"b": "2"})
        equal(s3.head_object(Bucket=bucket, Key=key)["Metadata"], {"b": "2"}, "replaced metadata")
    refused("InvalidRequest", 400, s3.copy_object, Bucket=BUCKET, Key=source["Key"], CopySource=source)
    replace = {"MetadataDirective": "REPLACE", "Metadata": {"c": "3"}}
    s3.copy_object(Bucket=BUCKET, Key=source["Key"], CopySource=source, **replace)
    equal(s3.head_object(**source)["Metadata"], {"c": "3"}, "metadata replaced in place")
    equal(read(source["Key"]), body, "body after its metadata was replaced")
    to = {"Bucket": BUCKET, "Key": "copies/conditional", "CopySource": source}
    refused("PreconditionFailed", 412, s3.copy_object, **to, CopySourceIfNoneMatch=etag)
    refused("PreconditionFailed", 412, s3.copy_object, **to, CopySourceIfMatch='"none"')
    s3.copy_object(**to, CopySourceIfMatch=etag)
    refused("PreconditionFailed", 412, s3.copy_object, **to, IfNoneMatch="*")
    missing = {"Bucket": BUCKET, "Key": "copies/none"}
    refused("NoSuchKey", 404, s3.copy_object, Bucket=BUCKET, Key="copies/x", CopySource=missing)
    # The copy stays when the source goes.
    s3.delete_object(**source)
    equal(read("copies/conditional"), body, "body of a copy whose source is gone")
    s3.delete_object(Bucket=BUCKET_2, Key=f"{BUCKET}/copies")


def hostile_keys():
    """keys that look like paths, markup or ends"""
    keys = HOSTILE_KEYS
    bodies = {key: key.encode() + data(10) for key in keys}
    for key in keys:
        put(key, bodies[key], Tagging="hostile=yes")
    for key in keys:
        equal(read(key), bodies[key], f"body of key {key[:60]!r}")
        s3.copy_object(Bucket=BUCKET, Key="copied", CopySource={"Bucket": BUCKET, "Key": key})
        equal(read("copied"), bodies[key], f"copy of key {key[:60]!r}")
    s3.delete_object(Bucket=BUCKET, Key="copied")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 7})
    listed = [item["Key"] for page in pages for item in page.get("Contents", [])]
    ours = [key for key in listed if key in bodies]
    equal(ours, sorted(keys, key=lambda key: key.encode()), "listed keys, in the order of their bytes")
    # XML has no way to write control characters, so one request for many cannot name those.
    legal = [key for key in keys if all(c in "\t\n\r" or c >= " " for c in key)]
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in legal]})
    equal({item["Key"] for item in answer["Deleted"]}, set(legal), "deleted keys")
    equal(answer.get("Errors", []), [], "errors of a delete")
    for key in set(keys) - set(legal):
        s3.delete_object(Bucket=BUCKET, Key=key)
    for key in keys:
        refused("404", 404, s3.head_object, Bucket=BUCKET, Key=key)
    refused("KeyTooLongError", 400, put, "a" * 1025, b"")


def errors():
    """refusals that are not about an object"""
    for call in (s3.get_object, s3.head_object):
        status = error_of(call, Bucket="no-such-bucket-here", Key="x")[1]
        check(status in (403, 404), f"an unknown bucket: {status}")
    refused("InvalidArgument", 400, s3.list_objects_v2, Bucket=BUCKET, ContinuationToken="!not-ours!")
    refused("NotImplemented", 501, s3.put_object_acl, Bucket=BUCKET, Key="bodies/0", AccessControlPolicy={"Grants": []})
    refused("NotImplemented", 501, s3.put_bucket_lifecycle_configuration, Bucket=BUCKET, LifecycleConfiguration={"Rules": []})
    equal(s3.get_bucket_versioning(Bucket=BUCKET).get("Status"), None, "versioning")
    equal(s3.get_object(Bucket=BUCKET, Key="bodies/0", VersionId="null")["ETag"], s3.head_object(Bucket=BUCKET, Key="bodies/0")["ETag"], "version null")
    refused("NoSuchVersion", 404, s3.get_object, Bucket=BUCKET, Key="bodies/0", VersionId="3sL4kqtJlcpXroDTDmJ")
    refused("NoSuchVersion", 404, s3.delete_object, Bucket=BUCKET, Key="bodies/0", VersionId="3sL4kqtJlcpXroDTDmJ")
    buckets = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    check({BUCKET, BUCKET_2} <= buckets, f"list of buckets: {buckets}")
    s3.create_bucket(Bucket=BUCKET)
    refused("BucketNotEmpty", 409, s3.delete_bucket, Bucket=BUCKET)
    s3.head_bucket(Bucket=BUCKET)
    equal(s3.get_bucket_location(Bucket=BUCKET).get("LocationConstraint"), None, "location")


run([bodies, metadata, ranges, conditions, checksums, tags, attributes, copies, hostile_keys, errors])
