// @aws-sdk/client-s3 with lib-storage and the presigner: bodies, streams, conditions, checksums, lists, copies.
import { createHash } from "node:crypto";
import { createReadStream, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { Readable } from "node:stream";

const require = createRequire(`${process.env.S3O_NODE_MODULES}/`);
const s3 = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");

const { S3O_BUCKET: Bucket, S3O_BUCKET_2: Bucket2, S3O_ENDPOINT: endpoint, S3O_LARGE: LARGE } = process.env;
const MIB = 1 << 20;
const client = new s3.S3Client({ endpoint, forcePathStyle: true, maxAttempts: 1 });

// Random bytes that the seed decides: a chain of hashes would be slow for large ones, so it is stretched by a cipher.
let drawn = 0;
function data(size) {
  const block = createHash("sha512").update(`${process.env.S3O_SEED}-${drawn++}`).digest();
  const bytes = Buffer.alloc(size);
  let state = block.readUInt32LE(0) || 1;
  for (let at = 0; at < size; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[at] = state;
  }
  return bytes;
}

function fail(text) {
  console.error(`MISMATCH: ${text}`);
  process.exit(1);
}

const say = (text) => console.log(`-- ${text}`);
const md5 = (bytes) => createHash("md5").update(bytes).digest("hex");

function equal(got, expected, what) {
  const [a, b] = [JSON.stringify(got), JSON.stringify(expected)];
  if (a !== b) fail(`${what}: got ${a}, expected ${b}`);
}

function same(got, expected, what) {
  if (Buffer.compare(Buffer.from(got), expected) !== 0) {
    fail(`${what}: got ${got.length} bytes with MD5 ${md5(got)}, expected ${expected.length} with ${md5(expected)}`);
  }
}

const send = (name, input) => client.send(new s3[`${name}Command`]({ Bucket, ...input }));
const read = async (Key, more) => (await send("GetObject", { Key, ...more })).Body.transformToByteArray();

async function refused(name, status, call) {
  try {
    await call();
  } catch (error) {
    equal([error.name, error.$metadata?.httpStatusCode], [name, status], `refusal (${error})`);
    return;
  }
  fail(`${name} was expected`);
}

async function bodies() {
  say("bodies of several sizes");
  for (const size of [0, 1, 65536, MIB + 3, 20 * MIB + 1]) {
    const body = data(size);
    const Key = `bodies/${size}`;
    const put = await send("PutObject", { Key, Body: body, Metadata: { colour: "blue" }, ContentType: "text/x-e2e" });
    equal(put.ETag, `"${md5(body)}"`, "ETag");
    const got = await send("GetObject", { Key });
    same(await got.Body.transformToByteArray(), body, `${size} bytes`);
    equal([got.Metadata, got.ContentType, got.ContentLength], [{ colour: "blue" }, "text/x-e2e", size], "head");
  }
  const body = Buffer.from(await read("bodies/65536"));
  same(await read("bodies/65536", { Range: "bytes=100-199" }), body.subarray(100, 200), "a range");
  await refused("NoSuchKey", 404, () => read("bodies/none"));
  await refused("NotFound", 404, () => send("HeadObject", { Key: "bodies/none" }));
}

async function streams() {
  say("a stream of known length in one request, which has its checksum in a trailer");
  const { size } = statSync(LARGE);
  const large = readFileSync(LARGE);
  await send("PutObject", { Key: "stream", Body: createReadStream(LARGE), ContentLength: size });
  same(await read("stream"), large, "a stream");

  say("streams of unknown length by lib-storage");
  const pieces = function* () {
    for (let at = 0; at < 7; at++) yield large.subarray(at * 1_000_003, (at + 1) * 1_000_003);
  };
  const body = Buffer.concat([...pieces()]);
  for (const [Key, partSize] of [["upload", 5 * MIB], ["upload in one", 16 * MIB]]) {
    await new Upload({ client, partSize, params: { Bucket, Key, Body: Readable.from(pieces()) } }).done();
    same(await read(Key), body, Key);
  }
  const upload = new Upload({ client, partSize: 8 * MIB, queueSize: 4, params: { Bucket, Key: "large", Body: createReadStream(LARGE) } });
  const done = await upload.done();
  equal(done.ETag.endsWith(`-${Math.ceil(size / (8 * MIB))}"`), true, `ETag ${done.ETag}`);
  same(await read("large"), large, "a large upload");
  await send("CopyObject", { Bucket: Bucket2, Key: `${Bucket}/large`, CopySource: `${Bucket}/large` });
  same(await read(`${Bucket}/large`, { Bucket: Bucket2 }), large, "a copy");
  await send("DeleteObject", { Bucket: Bucket2, Key: `${Bucket}/large` });
}

async function conditions() {
  say("conditional requests");
  const Key = "conditions";
  const { ETag } = await send("PutObject", { Key, Body: "one", IfNoneMatch: "*" });
  await refused("PreconditionFailed", 412, () => send("PutObject", { Key, Body: "two", IfNoneMatch: "*" }));
  await send("PutObject", { Key, Body: "two", IfMatch: ETag });
  await refused("PreconditionFailed", 412, () => send("PutObject", { Key, Body: "three", IfMatch: ETag }));
  await refused("PreconditionFailed", 412, () => read(Key, { IfMatch: ETag }));
  same(await read(Key), Buffer.from("two"), "body");
}

async function checksums() {
  say("checksums");
  const body = data(200_000);
  for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]) {
    if (ChecksumAlgorithm === "CRC64NVME") continue; // the SDK wants one more package for it
    const Key = `checksums/${ChecksumAlgorithm}`;
    const field = `Checksum${ChecksumAlgorithm}`;
    const put = await send("PutObject", { Key, Body: body, ChecksumAlgorithm });
    const got = await send("GetObject", { Key, ChecksumMode: "ENABLED" });
    equal(got[field], put[field], field);
    equal(typeof put[field], "string", field);
    same(await got.Body.transformToByteArray(), body, ChecksumAlgorithm);
  }
  await refused("BadDigest", 400, () => send("PutObject", { Key: "bad", Body: body, ChecksumCRC32: "AAAAAA==" }));
}

async function lists() {
  say("lists, pages, deletes of many");
  const keys = ["a/1", "a/2", "b", "c d+e", "\u00e4", "\u{1f980}"].map((name) => `lists/${name}`);
  await Promise.all(keys.map((Key) => send("PutObject", { Key, Body: Key })));
  const got = [];
  for await (const page of s3.paginateListObjectsV2({ client, pageSize: 2 }, { Bucket, Prefix: "lists/" })) {
    got.push(...page.Contents.map((item) => item.Key));
  }
  equal(got, keys, "keys");
  const folders = await send("ListObjectsV2", { Prefix: "lists/", Delimiter: "/" });
  equal(folders.CommonPrefixes, [{ Prefix: "lists/a/" }], "folders");
  const gone = await send("DeleteObjects", { Delete: { Objects: keys.map((Key) => ({ Key })) } });
  equal(gone.Deleted.map((item) => item.Key).sort(), [...keys].sort(), "deleted");
  equal((await send("ListObjectsV2", { Prefix: "lists/" })).KeyCount, 0, "what is left");
}

async function presigned() {
  say("presigned requests");
  const body = data(12345);
  const where = { Bucket, Key: "presigned +\u00e4" };
  // By default this SDK signs the checksum of an empty body along with it, which then binds.
  const signer = new s3.S3Client({ endpoint, forcePathStyle: true, requestChecksumCalculation: "WHEN_REQUIRED" });
  const put = await getSignedUrl(signer, new s3.PutObjectCommand(where), { expiresIn: 300 });
  equal((await fetch(put, { method: "PUT", body })).status, 200, "status of a PUT");
  const get = await getSignedUrl(client, new s3.GetObjectCommand(where), { expiresIn: 300 });
  same(Buffer.from(await (await fetch(get)).arrayBuffer()), body, "body");
  equal((await fetch(get.replace("presigned", "other"))).status, 403, "status of another key");
}

for (const scenario of [bodies, streams, conditions, checksums, lists, presigned]) {
  if (process.argv.length < 3 || process.argv.includes(scenario.name)) await scenario();
}
say("all bytes are the same");
