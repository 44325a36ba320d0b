//! Answers every request with one line. No libc, no WASI preview 1: the interface is called as the canonical ABI lowers it.

extern "wasi:http/types@0.2.12" fn @"[constructor]fields"() i32;
extern "wasi:http/types@0.2.12" fn @"[method]fields.append"(fields: i32, name: [*]const u8, name_length: usize, value: [*]const u8, value_length: usize, result: *Result) void;
extern "wasi:http/types@0.2.12" fn @"[constructor]outgoing-response"(fields: i32) i32;
extern "wasi:http/types@0.2.12" fn @"[method]outgoing-response.body"(response: i32, result: *Result) void;
extern "wasi:http/types@0.2.12" fn @"[static]response-outparam.set"(outparam: i32, failed: i32, response: i32, i32, i64, i32, i32, i32, i32) void;
extern "wasi:http/types@0.2.12" fn @"[method]outgoing-body.write"(body: i32, result: *Result) void;
extern "wasi:http/types@0.2.12" fn @"[static]outgoing-body.finish"(body: i32, has_trailers: i32, trailers: i32, result: *Result) void;
extern "wasi:io/streams@0.2.12" fn @"[method]output-stream.blocking-write-and-flush"(stream: i32, bytes: [*]const u8, length: usize, result: *Result) void;
extern "wasi:io/streams@0.2.12" fn @"[resource-drop]output-stream"(stream: i32) void;

/// Where a call leaves what it returns: byte 0 is 0 for success, the payload follows at byte 4.
const Result = extern struct {
    failed: u8 align(8),
    padding: [3]u8,
    payload: i32,
    widest: [56]u8,

    /// The handle; a failure traps, and the client gets a 500.
    fn handle(result: *const Result) i32 {
        if (result.failed != 0) @trap();
        return result.payload;
    }
};

const text = "Hello from Zig\n";

fn answer(request: i32, outparam: i32) callconv(.c) void {
    _ = request;
    var result: Result = undefined;
    const fields = @"[constructor]fields"();
    const name = "content-type";
    const value = "text/plain";
    @"[method]fields.append"(fields, name, name.len, value, value.len, &result);
    const response = @"[constructor]outgoing-response"(fields);
    @"[method]outgoing-response.body"(response, &result);
    const body = result.handle();
    @"[static]response-outparam.set"(outparam, 0, response, 0, 0, 0, 0, 0, 0);
    @"[method]outgoing-body.write"(body, &result);
    const stream = result.handle();
    @"[method]output-stream.blocking-write-and-flush"(stream, text, text.len, &result);
    @"[resource-drop]output-stream"(stream);
    @"[static]outgoing-body.finish"(body, 0, 0, &result);
}

var arena: [16 * 1024]u8 align(16) = undefined;
var used: usize = 0;

/// The host allocates here what it passes in; an instance is short-lived, so nothing is given back.
fn realloc(old: ?[*]u8, old_size: usize, alignment: usize, size: usize) callconv(.c) [*]u8 {
    _ = old;
    _ = old_size;
    const begin = (used + alignment - 1) & ~(alignment - 1);
    if (size > arena.len or begin > arena.len - size) @trap();
    used = begin + size;
    return arena[begin..].ptr;
}

comptime {
    @export(&answer, .{ .name = "wasi:http/incoming-handler@0.2.12#handle" });
    @export(&realloc, .{ .name = "cabi_realloc" });
}
