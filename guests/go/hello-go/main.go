// Command hello-go answers every request with one line: standard Go, which targets WASI preview 1, with the calls of
// wasi:http 0.2 imported as the canonical ABI lowers them.
package main

import "unsafe"

//go:wasmimport wasi:http/types@0.2.12 [constructor]fields
func fieldsNew() int32

//go:wasmimport wasi:http/types@0.2.12 [method]fields.append
func fieldsAppend(fields int32, name unsafe.Pointer, nameLength uint32, value unsafe.Pointer, valueLength uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [constructor]outgoing-response
func responseNew(fields int32) int32

//go:wasmimport wasi:http/types@0.2.12 [method]outgoing-response.body
func responseBody(response int32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [static]response-outparam.set
func outparamSet(outparam, failed, response, _ int32, _ int64, _, _, _, _ int32)

//go:wasmimport wasi:http/types@0.2.12 [method]outgoing-body.write
func bodyWrite(body int32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [static]outgoing-body.finish
func bodyFinish(body, hasTrailers, trailers int32, result unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.12 [method]output-stream.blocking-write-and-flush
func streamWrite(stream int32, bytes unsafe.Pointer, length uint32, result unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.12 [resource-drop]output-stream
func streamDrop(stream int32)

// result is where a call leaves what it returns: 0 for success, then the payload.
type result struct {
	failed  uint64 // one byte and its padding to the widest alignment; the payload of a handle starts at byte 4
	payload [7]uint64
}

// handle is the handle in a result; a failure panics, and the client gets a 500.
func (r *result) handle() int32 {
	if r.failed&0xff != 0 {
		panic("the host refused")
	}
	return int32(r.failed >> 32)
}

//go:wasmexport wasi:http/incoming-handler@0.2.12#handle
func handle(_, outparam int32) {
	var r result
	at := unsafe.Pointer(&r)
	name, value, text := []byte("content-type"), []byte("text/plain"), []byte("Hello from Go\n")

	fields := fieldsNew()
	fieldsAppend(fields, unsafe.Pointer(&name[0]), uint32(len(name)), unsafe.Pointer(&value[0]), uint32(len(value)), at)
	response := responseNew(fields)
	responseBody(response, at)
	body := r.handle()
	outparamSet(outparam, 0, response, 0, 0, 0, 0, 0, 0)
	bodyWrite(body, at)
	stream := r.handle()
	streamWrite(stream, unsafe.Pointer(&text[0]), uint32(len(text)), at)
	streamDrop(stream)
	bodyFinish(body, 0, 0, at)
}

// arena holds what the host passes in. It is no Go allocation, because an allocation may start a garbage collection,
// which asks for the time, which is not allowed while the host is passing something in. The adapter from preview 1 takes
// its 64 KiB of state from here as well, for the life of the instance; so nothing is given back.
var (
	arena [512 * 1024]byte
	used  uintptr
)

//go:wasmexport cabi_realloc
func realloc(_ unsafe.Pointer, _, align, size uint32) unsafe.Pointer {
	base := uintptr(unsafe.Pointer(&arena[0]))
	mask := uintptr(align) - 1
	start := (base+used+mask)&^mask - base
	if start+uintptr(size) > uintptr(len(arena)) {
		panic("the arena is used up")
	}
	used = start + uintptr(size)
	return unsafe.Pointer(&arena[start])
}

// main is not called: the host calls handle.
func main() {}
