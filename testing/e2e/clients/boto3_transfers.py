"""boto3: what takes many requests. Multipart uploads, lists, deletes of many, presigned requests and forms, races."""

import hashlib
import io
import ssl
import threading
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor

import boto3_client
from boto3.s3.transfer import TransferConfig
from boto3_client import client, error_of, refused, s3
from common import BUCKET, BUCKET_2, CA, CHANCE, MIB, check, data, equal, large, md5, run

PART = 5 * MIB


def read(key, **options):
    return s3.get_object(Bucket=BUCKET, Key=key, **options)["Body"].read()


def etag_of_parts(parts):
    """What S3 makes of the ETags of parts."""
    whole = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    return f'"{whole}-{len(parts)}"'


def transfers():
    """managed transfers of large files, up, within and down"""
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    for body in (data(PART - 1), data(20 * MIB + 1), large()):
        size = len(body)
        s3.upload_fileobj(io.BytesIO(body), BUCKET, f"transfers/{size}", Config=config)
        head = s3.head_object(Bucket=BUCKET, Key=f"transfers/{size}")
        equal(head["ContentLength"], size, "size")
        if size >= PART:
            parts = [body[at : at + PART] for at in range(0, size, PART)]
            equal(head["ETag"], etag_of_parts(parts), "ETag of a multipart upload")
        down = io.BytesIO()
        s3.download_fileobj(BUCKET, f"transfers/{size}", down, Config=config)
        check(down.getvalue() == body, f"{size} bytes came back changed")
        source = {"Bucket": BUCKET, "Key": f"transfers/{size}"}
        s3.copy(source, BUCKET_2, f"{BUCKET}/{size}", Config=TransferConfig(multipart_threshold=PART, multipart_chunksize=6 * MIB))
        got = s3.get_object(Bucket=BUCKET_2, Key=f"{BUCKET}/{size}")["Body"]
        check(got.read() == body, f"a copy of {size} bytes is not the same")
        at = CHANCE.randrange(size - 1000)
        equal(read(f"transfers/{size}", Range=f"bytes={at}-{at + 999}"), body[at : at + 1000], "a range of many parts")
        for where in (source, {"Bucket": BUCKET_2, "Key": f"{BUCKET}/{size}"}):
            s3.delete_object(**where)


def multipart():
    """a multipart upload by hand: any order, gaps, parts sent again"""
    where = {"Bucket": BUCKET, "Key": "multi part/\u00e4"}
    s3.delete_object(**where)
    upload = s3.create_multipart_upload(**where, Metadata={"a": "1"}, ContentType="text/x-e2e", Tagging="t=1")["UploadId"]
    parts = {2: data(PART), 7: data(PART + 1), 9000: data(11)}
    etags = {}
    for number in (9000, 2, 7):
        s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=data(100))
        etags[number] = s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=parts[number])["ETag"]
        equal(etags[number], f'"{md5(parts[number])}"', "ETag of a part")
    listed = s3.list_parts(**where, UploadId=upload)
    got = [(part["PartNumber"], part["Size"], part["ETag"]) for part in listed["Parts"]]
    equal(got, [(number, len(body), etags[number]) for number, body in sorted(parts.items())], "listed parts")
    page = s3.list_parts(**where, UploadId=upload, MaxParts=2)
    equal((page["IsTruncated"], page["NextPartNumberMarker"]), (True, 7), "first page of parts")
    rest = s3.list_parts(**where, UploadId=upload, PartNumberMarker=7)
    equal([part["PartNumber"] for part in rest["Parts"]], [9000], "second page of parts")
    uploads = s3.list_multipart_uploads(Bucket=BUCKET, Prefix="multi part/")["Uploads"]
    equal([(item["Key"], item["UploadId"]) for item in uploads], [(where["Key"], upload)], "open uploads")
    refused("404", 404, s3.head_object, **where)
    complete = {**where, "UploadId": upload}
    whole = [{"PartNumber": number, "ETag": etags[number]} for number in sorted(parts)]
    refused("InvalidPartOrder", 400, s3.complete_multipart_upload, **complete, MultipartUpload={"Parts": whole[::-1]})
    wrong = [{"PartNumber": 2, "ETag": etags[7]}]
    refused("InvalidPart", 400, s3.complete_multipart_upload, **complete, MultipartUpload={"Parts": wrong})
    refused("InvalidPart", 400, s3.complete_multipart_upload, **complete, MultipartUpload={"Parts": [{"PartNumber": 3, "ETag": etags[7]}]})
    done = s3.complete_multipart_upload(**complete, MultipartUpload={"Parts": whole})
    bodies = [parts[number] for number in sorted(parts)]
    equal(done["ETag"], etag_of_parts(bodies), "ETag")
    again = s3.complete_multipart_upload(**complete, MultipartUpload={"Parts": whole})
    equal(again["ETag"], done["ETag"], "answer to a repeated complete")
    got = s3.get_object(**where)
    equal((got["Metadata"], got["ContentType"], got["TagCount"]), ({"a": "1"}, "text/x-e2e", 1), "metadata")
    check(got["Body"].read() == b"".join(bodies), "the parts do not add up")
    # Parts keep the numbers that they were sent under.
    for number, body in parts.items():
        part = s3.get_object(**where, PartNumber=number)
        equal((part["PartsCount"], part["Body"].read()), (3, body), f"part {number}")
        equal(s3.head_object(**where, PartNumber=number)["ContentLength"], len(body), f"length of part {number}")
    refused("InvalidPartNumber", 416, s3.get_object, **where, PartNumber=1)
    equal(s3.get_object_attributes(**where, ObjectAttributes=["ObjectParts"])["ObjectParts"]["TotalPartsCount"], 3, "parts")


def multipart_refused():
    """multipart uploads that are refused or given up"""
    where = {"Bucket": BUCKET, "Key": "refused"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    parts = []
    for number in (1, 2):
        etag = s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=data(1000))["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    complete = {**where, "UploadId": upload}
    refused("EntityTooSmall", 400, s3.complete_multipart_upload, **complete, MultipartUpload={"Parts": parts})
    for number in (0, 10001):
        refused("InvalidArgument", 400, s3.upload_part, **complete, PartNumber=number, Body=b"x")
    s3.abort_multipart_upload(**complete)
    refused("NoSuchUpload", 404, s3.upload_part, **complete, PartNumber=1, Body=b"x")
    refused("NoSuchUpload", 404, s3.list_parts, **complete)
    refused("NoSuchUpload", 404, s3.complete_multipart_upload, **complete, MultipartUpload={"Parts": parts})
    check("Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET, Prefix="refused"), "an aborted upload is listed")
    refused("404", 404, s3.head_object, **where)
    s3.put_object(**where, Body=b"first")
    upload = s3.create_multipart_upload(**where)["UploadId"]
    complete = {**where, "UploadId": upload}
    part = s3.upload_part(**complete, PartNumber=1, Body=b"second")["ETag"]
    one = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    refused("PreconditionFailed", 412, s3.complete_multipart_upload, **complete, MultipartUpload=one, IfNoneMatch="*")
    s3.complete_multipart_upload(**complete, MultipartUpload=one)
    equal(read("refused"), b"second", "body")


def multipart_checksums():
    """checksums of multipart uploads: of the whole, and of the parts' checksums"""
    bodies = [data(PART), data(123_456)]
    for algorithm, kind in [
        ("CRC32", "COMPOSITE"), ("CRC32", "FULL_OBJECT"), ("CRC32C", "COMPOSITE"), ("CRC32C", "FULL_OBJECT"),
        ("CRC64NVME", "FULL_OBJECT"), ("SHA1", "COMPOSITE"), ("SHA256", "COMPOSITE"),
    ]:  # fmt: skip
        where = {"Bucket": BUCKET, "Key": f"multi-checksums/{algorithm}/{kind}"}
        begun = s3.create_multipart_upload(**where, ChecksumAlgorithm=algorithm, ChecksumType=kind)
        equal((begun["ChecksumAlgorithm"], begun["ChecksumType"]), (algorithm, kind), "answer to create")
        field, parts = f"Checksum{algorithm}", []
        for number, body in enumerate(bodies, 1):
            part = s3.upload_part(**where, UploadId=begun["UploadId"], PartNumber=number, Body=body, ChecksumAlgorithm=algorithm)
            parts.append({"PartNumber": number, "ETag": part["ETag"], field: part[field]})
        done = s3.complete_multipart_upload(**where, UploadId=begun["UploadId"], MultipartUpload={"Parts": parts})
        equal(done["ChecksumType"], kind, f"type of {algorithm}")
        equal(done[field].endswith("-2"), kind == "COMPOSITE", f"{kind} {algorithm} is {done[field]}")
        got = s3.get_object(**where, ChecksumMode="ENABLED")
        equal((got[field], got["ChecksumType"]), (done[field], kind), f"{kind} {algorithm} by GET")
        check(got["Body"].read() == b"".join(bodies), "body")
        if kind == "FULL_OBJECT":
            # One PUT of the same bytes has the same checksum.
            once = s3.put_object(Bucket=BUCKET, Key="multi-checksums/once", Body=b"".join(bodies), ChecksumAlgorithm=algorithm)
            equal(done[field], once[field], f"{algorithm} of the whole")
        names = ["Checksum", "ObjectParts"]
        attributes = s3.get_object_attributes(**where, ObjectAttributes=names)
        equal(attributes["Checksum"][field], done[field], f"{algorithm} in the attributes")


def part_copies():
    """UploadPartCopy, whole and by ranges"""
    source, body = {"Bucket": BUCKET, "Key": "part-copies"}, data(12 * MIB)
    s3.upload_fileobj(io.BytesIO(body), BUCKET, "part-copies", Config=TransferConfig(multipart_threshold=PART, multipart_chunksize=PART))
    where = {"Bucket": BUCKET_2, "Key": f"{BUCKET}/part-copies"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    # Across the border of two of its source's parts, the whole of it, some new bytes.
    ranges = [(4 * MIB, 10 * MIB - 1), None, (0, 7)]
    expected, parts = [], []
    for number, ends in enumerate(ranges, 1):
        options = {"CopySourceRange": f"bytes={ends[0]}-{ends[1]}"} if ends else {}
        copied = s3.upload_part_copy(**where, UploadId=upload, PartNumber=number, CopySource=source, **options)
        parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
        expected.append(body[ends[0] : ends[1] + 1] if ends else body)
    beyond = f"bytes=0-{len(body)}"
    again = {**where, "UploadId": upload, "PartNumber": 4, "CopySource": source}
    refused("InvalidArgument", 400, s3.upload_part_copy, **again, CopySourceRange=beyond)
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    check(s3.get_object(**where)["Body"].read() == b"".join(expected), "copied parts do not add up")
    s3.delete_object(**where)


def lists():
    """lists: pages, prefixes, delimiters, unicode, versions 1 and 2"""
    names = ["a", "a/", "a/1", "a/2/x", "a/2/y", "a/b/c/d", "a!", "a0", "b", "\u00e9/1", "e\u0301/1", "\U0001f980", "\uff5e", "z z/+1", "%/%", "A"]
    keys = sorted((f"lists/{name}" for name in names), key=lambda key: key.encode())
    for key in keys:
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    for prefix in ("lists/", "lists/a", "lists/a/", "lists/e", "lists/none"):
        for delimiter in (None, "/", "a", "/1"):
            for size in (1, 2, 3, 1000):
                one_list(keys, prefix, delimiter, size)
    after = s3.list_objects_v2(Bucket=BUCKET, Prefix="lists/", StartAfter=keys[4])["Contents"]
    equal([item["Key"] for item in after], keys[5:], "list after a key")
    first = s3.list_objects_v2(Bucket=BUCKET, Prefix="lists/")["Contents"][0]
    equal((first["Size"], first["ETag"], first["StorageClass"]), (len(keys[0]), f'"{md5(keys[0].encode())}"', "STANDARD"), "item")
    equal(s3.list_objects_v2(Bucket=BUCKET, Prefix="lists/", MaxKeys=0)["KeyCount"], 0, "list of nothing")
    check("Owner" in s3.list_objects_v2(Bucket=BUCKET, Prefix="lists/", FetchOwner=True)["Contents"][0], "no owner")


def one_list(keys, prefix, delimiter, size):
    """Walks one list by both versions, and compares it with what it has to be."""
    expected_keys, expected_prefixes = [], []
    for key in keys:
        rest = key[len(prefix) :]
        if not key.startswith(prefix):
            continue
        if delimiter and delimiter in rest:
            common = prefix + rest[: rest.index(delimiter) + len(delimiter)]
            if common not in expected_prefixes:
                expected_prefixes.append(common)
        else:
            expected_keys.append(key)
    arguments = {"Bucket": BUCKET, "Prefix": prefix, **({"Delimiter": delimiter} if delimiter else {})}
    for operation in ("list_objects", "list_objects_v2"):
        got_keys, got_prefixes = [], []
        for page in s3.get_paginator(operation).paginate(**arguments, PaginationConfig={"PageSize": size}):
            got_keys += [item["Key"] for item in page.get("Contents", [])]
            got_prefixes += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
            count = len(page.get("Contents", [])) + len(page.get("CommonPrefixes", []))
            check(count <= size, f"{count} items on a page of {size}")
            check(count == size or not page["IsTruncated"], f"a short page of {count} in the middle")
        what = f"{operation} prefix {prefix!r} delimiter {delimiter!r} pages of {size}"
        equal(got_keys, expected_keys, f"{what}: keys")
        equal(got_prefixes, expected_prefixes, f"{what}: prefixes")


def deletes():
    """deletes of a thousand"""
    keys = [f"deletes/{n:04}" for n in range(1000)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode()), keys))
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="deletes/")
    equal(([item["Key"] for item in listed["Contents"]], listed["IsTruncated"]), (keys, False), "a thousand keys")
    objects = [{"Key": key} for key in keys]
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": objects[:500] + [{"Key": "deletes/none"}]})
    equal([item["Key"] for item in answer["Deleted"]], keys[:500] + ["deletes/none"], "deleted")
    quiet = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": objects[500:999], "Quiet": True})
    check("Deleted" not in quiet and "Errors" not in quiet, f"a quiet delete talks: {quiet}")
    left = s3.list_objects_v2(Bucket=BUCKET, Prefix="deletes/")["Contents"]
    equal([item["Key"] for item in left], keys[999:], "what is left")
    versions = [{"Key": keys[999], "VersionId": "3sL4kqtJlcpXroDTDmJ"}]
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": versions})
    equal([item["Code"] for item in answer.get("Errors", [])], ["NoSuchVersion"], "a version that is not there")
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": keys[999], "VersionId": "null"}]})
    refused("404", 404, s3.head_object, Bucket=BUCKET, Key=keys[999])
    refused("MalformedXML", 400, s3.delete_objects, Bucket=BUCKET, Delete={"Objects": objects + [{"Key": "one too many"}]})


def web(method, url, body=None, headers=None):
    """A request by a client that knows nothing of S3: status, body, headers."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    context = ssl.create_default_context(cafile=CA) if CA else None
    try:
        with urllib.request.urlopen(request, context=context) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def presigned():
    """presigned requests"""
    body, key = data(100_000), "presigned/ +\u00e4"
    where = {"Bucket": BUCKET, "Key": key}
    url = s3.generate_presigned_url("put_object", {**where, "ContentType": "text/x-e2e"})
    status, text, _ = web("PUT", url, body, {"Content-Type": "text/x-e2e"})
    equal(status, 200, f"status of a presigned PUT ({text[:300]})")
    equal(web("PUT", url, body, {"Content-Type": "text/other"})[0], 403, "status with another signed header")
    url = s3.generate_presigned_url("get_object", {**where, "ResponseContentType": "text/y"})
    status, got, headers = web("GET", url)
    equal((status, got, headers["Content-Type"]), (200, body, "text/y"), "presigned GET")
    equal(web("GET", url, None, {"Range": "bytes=1-3"})[:2], (206, body[1:4]), "presigned GET of a range")
    for bad in (url.replace("text%2Fy", "text%2Fz"), url[:-1] + ("0" if url[-1] != "0" else "1"), url.replace("presigned", "Presigned")):
        status, text, _ = web("GET", bad)
        check(status == 403 and b"<Code>SignatureDoesNotMatch</Code>" in text, f"tampered: {status} {text}")
    equal(web("PUT", url, b"x")[0], 403, "another method")
    stranger = client(access_key="unknown", secret_key="unknown")
    status, text, _ = web("GET", stranger.generate_presigned_url("get_object", where))
    check(status == 403 and b"<Code>InvalidAccessKeyId</Code>" in text, f"unknown key: {status} {text}")
    impostor = client(access_key=s3._request_signer._credentials.access_key, secret_key="wrong")
    refused("SignatureDoesNotMatch", 403, impostor.get_object, **where)
    refused("InvalidAccessKeyId", 403, stranger.get_object, **where)
    equal(web("DELETE", s3.generate_presigned_url("delete_object", where))[0], 204, "presigned DELETE")
    equal(web("GET", url)[0], 404, "status after the delete")


def early_refusals():
    """refusals reach a client that sends all of its body before it looks for an answer"""
    url = s3.generate_presigned_url("put_object", {"Bucket": BUCKET, "Key": "early"}).replace("early", "other")
    for size in (0, 1000, MIB, 8 * MIB):
        status, text, _ = web("PUT", url, data(size))
        check(status == 403 and b"<Code>SignatureDoesNotMatch</Code>" in text, f"{size} bytes: {status} {text}")


def form(fields, body, file_name="a file.bin"):
    """A browser's upload form."""
    border = uuid.UUID(int=CHANCE.getrandbits(128)).hex
    lines = b""
    for name, value in fields.items():
        lines += f'--{border}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    head = f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\nContent-Type: x/y\r\n\r\n'
    lines += head.encode() + body + f"\r\n--{border}--\r\n".encode()
    return lines, {"Content-Type": f"multipart/form-data; boundary={border}"}


def forms():
    """forms with a policy"""
    body = data(MIB + 1)
    conditions = [["content-length-range", 1, 2 * MIB], ["starts-with", "$Content-Type", "image/"], {"x-amz-meta-a": "1"}]
    post = s3.generate_presigned_post(BUCKET, "forms/${filename}", Conditions=conditions)
    fields = {**post["fields"], "Content-Type": "image/x", "x-amz-meta-a": "1"}
    status, text, headers = web("POST", post["url"], *form(fields, body))
    equal(status, 204, f"status of a form ({text[:300]})")
    got = s3.get_object(Bucket=BUCKET, Key="forms/a file.bin")
    equal((got["Body"].read(), got["ContentType"], got["Metadata"]), (body, "image/x", {"a": "1"}), "object by form")
    status, text, _ = web("POST", post["url"], *form({**fields, "success_action_status": "201"}, body))
    equal(status, 403, "status with a field that the policy does not name")
    for change, length, expected in [
        ({"Content-Type": "text/x"}, 10, (403, b"AccessDenied")),
        ({"x-amz-meta-a": "2"}, 10, (403, b"AccessDenied")),
        ({"key": "elsewhere"}, 10, (403, b"AccessDenied")),
        ({"x-amz-signature": "0" * 64}, 10, (403, b"SignatureDoesNotMatch")),
        ({}, 0, (400, b"EntityTooSmall")),
        ({}, 2 * MIB + 1, (400, b"EntityTooLarge")),
    ]:
        status, text, _ = web("POST", post["url"], *form({**fields, **change}, body[:1] * length, "bad"))
        check(status == expected[0] and expected[1] in text, f"form with {change}, {length} bytes: {status} {text}")
    refused("404", 404, s3.head_object, Bucket=BUCKET, Key="forms/bad")
    post = s3.generate_presigned_post(BUCKET, "forms/created", Fields={"success_action_status": "201"}, Conditions=[{"success_action_status": "201"}])
    status, text, _ = web("POST", post["url"], *form(post["fields"], body))
    check(status == 201 and md5(body).encode() in text, f"form that asks for 201: {status} {text}")


def races():
    """races: one creator wins, readers see one whole state"""
    start, won = threading.Barrier(20), []

    def create(n):
        own = boto3_client.client()
        start.wait()
        try:
            own.put_object(Bucket=BUCKET, Key="races/created", Body=str(n).encode(), IfNoneMatch="*")
            won.append(n)
        except own.exceptions.ClientError as error:
            code = error.response["Error"]["Code"]
            check(code in ("PreconditionFailed", "ConditionalRequestConflict"), f"a loser gets {code}")

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(create, range(20)))
    equal(len(won), 1, "winners")
    equal(read("races/created"), str(won[0]).encode(), "the winner's body")

    bodies = [bytes([n]) * (300_000 + n) for n in range(30)]
    s3.put_object(Bucket=BUCKET, Key="races/overwritten", Body=bodies[0])
    over = threading.Event()

    def watch(_):
        seen = 0
        while not over.is_set() or not seen:
            got = s3.get_object(Bucket=BUCKET, Key="races/overwritten")
            check(got["Body"].read() in bodies, "a reader saw a mixture")
            seen += 1
        return seen

    with ThreadPoolExecutor(4) as pool:
        watchers = [pool.submit(watch, n) for n in range(4)]
        for body in bodies:
            s3.put_object(Bucket=BUCKET, Key="races/overwritten", Body=body)
            check(read("races/overwritten") == body, "a read after a write sees another state")
        over.set()
        check(all(watcher.result() for watcher in watchers), "a watcher saw nothing")


run([transfers, multipart, multipart_refused, multipart_checksums, part_copies, lists, deletes, presigned, early_refusals, forms, races])
