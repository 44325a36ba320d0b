// Answers every request with one line. The calls of wasi:http 0.2 are imported as the canonical ABI lowers them.

// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[constructor]fields")
declare function fieldsNew(): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]fields.append")
declare function fieldsAppend(fields: i32, name: usize, nameLength: i32, value: usize, valueLength: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[constructor]outgoing-response")
declare function responseNew(fields: i32): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]outgoing-response.body")
declare function responseBody(response: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[static]response-outparam.set")
declare function outparamSet(outparam: i32, failed: i32, response: i32, a: i32, b: i64, c: i32, d: i32, e: i32, f: i32): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]outgoing-body.write")
declare function bodyWrite(body: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[static]outgoing-body.finish")
declare function bodyFinish(body: i32, hasTrailers: i32, trailers: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:io/streams@0.2.12", "[method]output-stream.blocking-write-and-flush")
declare function streamWrite(stream: i32, bytes: usize, length: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:io/streams@0.2.12", "[resource-drop]output-stream")
declare function streamDrop(stream: i32): void;

/** Where a call leaves what it returns: byte 0 is 0 for success, the payload follows at byte 4. */
const result = memory.data(64, 8);

/** The handle in the last result; a failure traps, and the client gets a 500. */
function payload(): i32 {
  if (load<u8>(result) != 0) unreachable();
  return load<i32>(result, 4);
}

/** The export `wasi:http/incoming-handler@0.2.12#handle`: the build gives it that name, which the language cannot write. */
export function handle(request: i32, outparam: i32): void {
  const name = String.UTF8.encode("content-type");
  const value = String.UTF8.encode("text/plain");
  const text = String.UTF8.encode("Hello from AssemblyScript\n");

  const fields = fieldsNew();
  fieldsAppend(fields, changetype<usize>(name), name.byteLength, changetype<usize>(value), value.byteLength, result);
  const response = responseNew(fields);
  responseBody(response, result);
  const body = payload();
  outparamSet(outparam, 0, response, 0, 0, 0, 0, 0, 0);
  bodyWrite(body, result);
  const stream = payload();
  streamWrite(stream, changetype<usize>(text), text.byteLength, result);
  streamDrop(stream);
  bodyFinish(body, 0, 0, result);
}

/** The host allocates here what it passes in. The blocks are pinned: they are the host's until the instance ends. */
export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  return __pin(__new(size, idof<ArrayBuffer>()));
}
