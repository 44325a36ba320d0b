// Answers every request with one line, put together by the standard library.
#include <cstdlib>
#include <string>

#include "../../c/wasi_http.h"

extern "C" __attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t, size_t align, size_t size) {
    if (align > alignof(std::max_align_t)) __builtin_trap();
    void *block = std::realloc(old, size);
    if (block == nullptr) __builtin_trap();
    return block;
}

WASI_HTTP_HANDLER void handle(int32_t, int32_t outparam) {
    std::string text = "Hello from ";
    text += "C++\n";
    wasi_http_answer(outparam, text.data(), text.size());
}
