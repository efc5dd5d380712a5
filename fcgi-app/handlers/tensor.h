/* Tensors of the Open Inference Protocol V2 (github.com/kserve/open-inference-protocol, inference_rest.md) as a request
 * brings them: as JSON, flat or nested, or in the bytes behind the JSON (Triton's binary tensor data extension: little
 * endian, row after row, BYTES with their length in four bytes before them). Elements are taken one after the other, in
 * the form of JSON, so that what a client sends is judged the same way however it comes. */
#ifndef APPCORE_HANDLERS_TENSOR_H
#define APPCORE_HANDLERS_TENSOR_H

#include "base/err.h"
#include "base/json.h"

enum tensor_type {
	TENSOR_BOOL,
	TENSOR_UINT8,
	TENSOR_UINT16,
	TENSOR_UINT32,
	TENSOR_UINT64,
	TENSOR_INT8,
	TENSOR_INT16,
	TENSOR_INT32,
	TENSOR_INT64,
	TENSOR_FP16,
	TENSOR_BF16,
	TENSOR_FP32,
	TENSOR_FP64,
	TENSOR_BYTES,
	TENSOR_TYPE__MAX
};

struct tensor {
	struct str name; /* in the arena, or borrowed */
	enum tensor_type type;
	int dims; /* 1 or 2 */
	size_t shape[2];
	size_t elements; /* the product of the shape, not 0; all are there */

	/* What is left to be taken. */
	bool binary, nested;
	struct str bytes;
	struct json_iter outer, inner;
	size_t taken;
};

/* Reads a member of "inputs". With the parameter binary_data_size its bytes are cut off the front of *binary.
 * STATUS_INVALID: what is wrong, with the tensor's name. STATUS_NO_MEMORY. */
enum status tensor_read(struct tensor *tensor, struct json_value input, struct str *binary, struct arena *arena,
			struct err *err) __attribute__((nonnull, warn_unused_result));

/* Appends the next element as JSON: a number, null for one that is missing (NaN), a string. A number is what its type
 * can hold: FP32 rounds to single precision. STATUS_INVALID: it is not of the type, out of its range, not finite, not
 * UTF-8. Call it at most `elements` times. */
enum status tensor_next(struct tensor *tensor, struct buf *out, struct err *err)
	__attribute__((nonnull, warn_unused_result));

/* Numbers and texts as binary tensors have them: FP64, and BYTES with their length. */
void tensor_put_double(struct buf *out, double value) __attribute__((nonnull));
void tensor_put_bytes(struct buf *out, struct str bytes) __attribute__((nonnull));

#endif
