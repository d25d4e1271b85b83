"""minio-py: put, get, stat, list, copy, compose, remove, presigned."""

import io
from datetime import timedelta
from urllib.parse import urlparse

import urllib3
from minio import Minio
from minio.commonconfig import REPLACE, ComposeSource, CopySource, Tags
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

from common import ACCESS_KEY, BUCKET, BUCKET_2, CA, ENDPOINT, LARGE, MIB, SECRET_KEY, SIZES, check, data, equal, fail, large, run

address = urlparse(ENDPOINT)
pool = urllib3.PoolManager(ca_certs=CA, retries=False)
server = Minio(address.netloc, ACCESS_KEY, SECRET_KEY, secure=address.scheme == "https", region="us-east-1", http_client=pool)


def read(bucket, key, **options):
    answer = server.get_object(bucket, key, **options)
    try:
        return answer.read()
    finally:
        answer.close()
        answer.release_conn()


def refused(code, call, *arguments):
    try:
        call(*arguments)
    except S3Error as error:
        equal(error.code, code, f"{call.__name__} {arguments}")
        return
    fail(f"{call.__name__} was not refused: {arguments}")


def objects():
    """put, get, stat and ranges"""
    for size in SIZES:
        body = data(size)
        metadata = {"colour": "blue"}
        server.put_object(BUCKET, f"minio/{size}", io.BytesIO(body), size, "text/x-e2e", metadata)
        equal(read(BUCKET, f"minio/{size}"), body, f"{size} bytes")
        stat = server.stat_object(BUCKET, f"minio/{size}")
        equal((stat.size, stat.content_type, stat.metadata["x-amz-meta-colour"]), (size, "text/x-e2e", "blue"), "stat")
    equal(read(BUCKET, f"minio/{size}", offset=1000, length=2000), body[1000:3000], "a range")
    refused("NoSuchKey", server.stat_object, BUCKET, "minio/none")


def streams():
    """multipart: a stream of unknown length, a large file"""
    body = data(11 * MIB + 5)
    server.put_object(BUCKET, "streams", io.BytesIO(body), -1, part_size=5 * MIB)
    equal(read(BUCKET, "streams"), body, "a stream")
    server.fput_object(BUCKET, "file", LARGE, part_size=16 * MIB)
    server.fget_object(BUCKET, "file", "down")
    with open("down", "rb") as file:
        check(file.read() == large(), "a file came back changed")
    server.remove_object(BUCKET, "file")


def copies():
    """copy and compose"""
    body = read(BUCKET, "streams")
    server.copy_object(BUCKET_2, f"{BUCKET}/copy", CopySource(BUCKET, "streams"))
    equal(read(BUCKET_2, f"{BUCKET}/copy"), body, "a copy")
    replaced = {"shape": "round"}
    source = CopySource(BUCKET, "streams", offset=0, length=6 * MIB)
    server.copy_object(BUCKET, "copy", source, metadata=replaced, metadata_directive=REPLACE)
    equal(read(BUCKET, "copy"), body[: 6 * MIB], "a copy of a range")
    equal(server.stat_object(BUCKET, "copy").metadata["x-amz-meta-shape"], "round", "metadata")
    sources = [ComposeSource(BUCKET, "streams"), ComposeSource(BUCKET, "copy", offset=5, length=5 * MIB), ComposeSource(BUCKET, "minio/1")]
    server.compose_object(BUCKET, "composed", sources)
    equal(read(BUCKET, "composed"), body + body[5 : 5 + 5 * MIB] + read(BUCKET, "minio/1"), "what was composed")
    server.remove_object(BUCKET_2, f"{BUCKET}/copy")


def tags():
    """tags"""
    tags = Tags.new_object_tags()
    tags["k"] = "a v"
    server.set_object_tags(BUCKET, "streams", tags)
    equal(dict(server.get_object_tags(BUCKET, "streams")), {"k": "a v"}, "tags")
    server.delete_object_tags(BUCKET, "streams")
    equal(server.get_object_tags(BUCKET, "streams"), None, "tags after their deletion")


def presigned():
    """presigned GET and PUT"""
    body = data(5000)
    url = server.presigned_put_object(BUCKET, "presigned +1", timedelta(minutes=5))
    equal(pool.request("PUT", url, body=body).status, 200, "status of a PUT")
    url = server.presigned_get_object(BUCKET, "presigned +1", timedelta(minutes=5))
    equal(pool.request("GET", url).data, body, "body")
    equal(pool.request("GET", url.replace("presigned%20%2B1", "streams")).status, 403, "another key")


def lists():
    """list and remove"""
    check(server.bucket_exists(BUCKET) and not server.bucket_exists("no-such-bucket-here"), "bucket_exists")
    check({BUCKET, BUCKET_2} <= {bucket.name for bucket in server.list_buckets()}, "list_buckets")
    names = [item.object_name for item in server.list_objects(BUCKET)]
    equal(sorted(names), sorted(["minio/", "streams", "copy", "composed", "presigned +1"]), "list with a delimiter")
    names = [item.object_name for item in server.list_objects(BUCKET, prefix="minio/", recursive=True)]
    equal(names, sorted(f"minio/{size}" for size in SIZES), "recursive list")
    every = [DeleteObject(item.object_name) for item in server.list_objects(BUCKET, recursive=True)]
    equal(list(server.remove_objects(BUCKET, every)), [], "errors")
    equal(list(server.list_objects(BUCKET, recursive=True)), [], "what is left")


run([objects, streams, copies, tags, presigned, lists])
