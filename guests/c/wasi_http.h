/* The few calls of wasi:http 0.2 that a small guest needs, as the canonical ABI lowers them.
 *
 * A call that can fail leaves its result in memory: byte 0 is 0 for success, the payload follows at byte 4 (at byte 8
 * for results that carry an error-code). `wasm-tools component new` checks every signature against the interface. */
#ifndef WASI_HTTP_H
#define WASI_HTTP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define WASI_EXTERN extern "C"
#else
#define WASI_EXTERN extern
#endif

#define WASI_HTTP(name) __attribute__((import_module("wasi:http/types@0.2.12"), import_name(name))) WASI_EXTERN
#define WASI_STREAMS(name) __attribute__((import_module("wasi:io/streams@0.2.12"), import_name(name))) WASI_EXTERN
#define WASI_HTTP_HANDLER __attribute__((export_name("wasi:http/incoming-handler@0.2.12#handle"))) WASI_EXTERN

/* Room for any result of these calls. */
typedef struct {
    _Alignas(8) uint8_t failed;
    uint8_t rest[63];
} wasi_result_t;

WASI_HTTP("[constructor]fields") int32_t wasi_fields_new(void);
WASI_HTTP("[method]fields.append")
void wasi_fields_append(int32_t fields, const char *name, size_t name_length, const char *value, size_t value_length,
                        wasi_result_t *result);
WASI_HTTP("[constructor]outgoing-response") int32_t wasi_response_new(int32_t fields);
WASI_HTTP("[method]outgoing-response.body") void wasi_response_body(int32_t response, wasi_result_t *result);
/* Only success is ever passed: failed = 0, then the response; the rest is the widest error code. */
WASI_HTTP("[static]response-outparam.set")
void wasi_outparam_set(int32_t outparam, int32_t failed, int32_t response, int32_t, int64_t, int32_t, int32_t, int32_t,
                       int32_t);
WASI_HTTP("[method]outgoing-body.write") void wasi_body_write(int32_t body, wasi_result_t *result);
WASI_HTTP("[static]outgoing-body.finish")
void wasi_body_finish(int32_t body, int32_t has_trailers, int32_t trailers, wasi_result_t *result);
WASI_STREAMS("[method]output-stream.blocking-write-and-flush")
void wasi_stream_write(int32_t stream, const char *bytes, size_t length, wasi_result_t *result);
WASI_STREAMS("[resource-drop]output-stream") void wasi_stream_drop(int32_t stream);

/* The handle in a result; a failure traps, and the client gets a 500. */
static inline int32_t wasi_handle(const wasi_result_t *result) {
    if (result->failed) __builtin_trap();
    return *(const int32_t *)(const void *)&result->rest[3];
}

/* Answers with status 200, plain text and the whole body; at most 4096 bytes, which is what one such write takes. */
static inline void wasi_http_answer(int32_t outparam, const char *text, size_t length) {
    wasi_result_t result;
    int32_t fields = wasi_fields_new();
    wasi_fields_append(fields, "content-type", 12, "text/plain", 10, &result);
    int32_t response = wasi_response_new(fields);
    wasi_response_body(response, &result);
    int32_t body = wasi_handle(&result);
    wasi_outparam_set(outparam, 0, response, 0, 0, 0, 0, 0, 0);
    wasi_body_write(body, &result);
    int32_t stream = wasi_handle(&result);
    wasi_stream_write(stream, text, length, &result);
    wasi_stream_drop(stream);
    wasi_body_finish(body, 0, 0, &result);
}

#endif
