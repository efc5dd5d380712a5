/* Sizes are checked before anything is taken: counts against the shape, bytes against counts, products against
 * overflow. */
#include "handlers/tensor.h"

#include <endian.h>
#include <inttypes.h>
#include <math.h>

enum kind { KIND_BOOL, KIND_UNSIGNED, KIND_SIGNED, KIND_FLOAT, KIND_BYTES };

/* size: bytes of an element. Of floats: bits of the significand, and of the least power of two. */
static const struct {
	struct str name;
	enum kind kind;
	size_t size;
	int digits, least;
} TYPES[TENSOR_TYPE__MAX] = {
	[TENSOR_BOOL] = {.name = STR_INIT("BOOL"), .kind = KIND_BOOL, .size = 1},
	[TENSOR_UINT8] = {.name = STR_INIT("UINT8"), .kind = KIND_UNSIGNED, .size = 1},
	[TENSOR_UINT16] = {.name = STR_INIT("UINT16"), .kind = KIND_UNSIGNED, .size = 2},
	[TENSOR_UINT32] = {.name = STR_INIT("UINT32"), .kind = KIND_UNSIGNED, .size = 4},
	[TENSOR_UINT64] = {.name = STR_INIT("UINT64"), .kind = KIND_UNSIGNED, .size = 8},
	[TENSOR_INT8] = {.name = STR_INIT("INT8"), .kind = KIND_SIGNED, .size = 1},
	[TENSOR_INT16] = {.name = STR_INIT("INT16"), .kind = KIND_SIGNED, .size = 2},
	[TENSOR_INT32] = {.name = STR_INIT("INT32"), .kind = KIND_SIGNED, .size = 4},
	[TENSOR_INT64] = {.name = STR_INIT("INT64"), .kind = KIND_SIGNED, .size = 8},
	[TENSOR_FP16] = {.name = STR_INIT("FP16"), .kind = KIND_FLOAT, .size = 2, .digits = 11, .least = -24},
	[TENSOR_BF16] = {.name = STR_INIT("BF16"), .kind = KIND_FLOAT, .size = 2, .digits = 8, .least = -133},
	[TENSOR_FP32] = {.name = STR_INIT("FP32"), .kind = KIND_FLOAT, .size = 4, .digits = 24, .least = -149},
	[TENSOR_FP64] = {.name = STR_INIT("FP64"), .kind = KIND_FLOAT, .size = 8, .digits = 53, .least = -1074},
	[TENSOR_BYTES] = {.name = STR_INIT("BYTES"), .kind = KIND_BYTES},
};

static const int SHOWN = 60; /* bytes of a name in a sentence */

static struct str shown(struct str name)
{
	size_t n = name.n < (size_t)SHOWN ? name.n : (size_t)SHOWN;

	while (n > 0 && n < name.n && ((unsigned char)name.p[n] & 0xc0) == 0x80)
		n--;
	return (struct str){name.p, n};
}

/* A sentence about the tensor. */
#define REFUSE(tensor, err, format, ...)                                                                               \
	err_set(err, STATUS_INVALID, "input '%.*s': " format, STR_ARG(shown((tensor)->name)), __VA_ARGS__)

/* --- what the tensor is --- */

static bool member_text(struct json_value object, const char *name, struct arena *arena, struct str *out)
{
	struct json_value value;

	if (!json_member(object, str_of(name), &value) || value.type != JSON_STRING)
		return false;
	*out = json_string(value, arena);
	return out->p != NULL;
}

static enum status read_type(struct tensor *tensor, struct json_value input, struct arena *arena, struct err *err)
{
	struct str name;

	if (!member_text(input, "datatype", arena, &name))
		return REFUSE(tensor, err, "%s", "datatype must be a string");
	for (int i = 0; i < TENSOR_TYPE__MAX; i++) {
		if (str_eq(name, TYPES[i].name)) {
			tensor->type = (enum tensor_type)i;
			return STATUS_OK;
		}
	}
	return REFUSE(tensor, err, "there is no datatype '%.*s'", STR_ARG(shown(name)));
}

static enum status read_shape(struct tensor *tensor, struct json_value input, struct err *err)
{
	struct json_value list, item;
	struct json_iter iter;
	uint64_t size;

	if (!json_member(input, STR("shape"), &list) || list.type != JSON_ARRAY)
		return REFUSE(tensor, err, "%s", "shape must be a list of whole numbers");
	tensor->elements = 1;
	json_iter_init(&iter, list);
	while (json_next(&iter, NULL, &item)) {
		if (item.type != JSON_NUMBER || !str_to_u64(item.text, UINT64_MAX, &size))
			return REFUSE(tensor, err, "%s", "shape must be a list of whole numbers");
		if (tensor->dims == 2)
			return REFUSE(tensor, err, "%s", "shape must have one or two dimensions");
		if (size == 0)
			return REFUSE(tensor, err, "%s", "shape has a dimension of 0: there is nothing to infer");
		if (size > SIZE_MAX || __builtin_mul_overflow(tensor->elements, (size_t)size, &tensor->elements))
			return REFUSE(tensor, err, "%s", "shape has more elements than can be");
		tensor->shape[tensor->dims++] = (size_t)size;
	}
	if (tensor->dims == 0)
		return REFUSE(tensor, err, "%s", "shape must have one or two dimensions");
	return STATUS_OK;
}

/* --- where its elements are --- */

static size_t count(struct json_value list)
{
	struct json_iter iter;
	struct json_value item;
	size_t n = 0;

	json_iter_init(&iter, list);
	while (json_next(&iter, NULL, &item))
		n++;
	return n;
}

static enum status wrong_count(const struct tensor *tensor, size_t n, size_t wanted, const char *where, struct err *err)
{
	return REFUSE(tensor, err, "%s has %zu element%s, its shape wants %zu", where, n, n == 1 ? "" : "s", wanted);
}

static enum status check_nested(const struct tensor *tensor, struct json_value data, struct err *err)
{
	struct json_iter iter;
	struct json_value row;
	size_t rows = count(data);

	if (tensor->dims != 2)
		return REFUSE(tensor, err, "%s", "data is nested deeper than its shape");
	if (rows != tensor->shape[0])
		return wrong_count(tensor, rows, tensor->shape[0], "data", err);
	json_iter_init(&iter, data);
	while (json_next(&iter, NULL, &row)) {
		if (row.type != JSON_ARRAY)
			return REFUSE(tensor, err, "%s", "data is neither flat nor nested as its shape");
		size_t n = count(row);
		if (n != tensor->shape[1])
			return wrong_count(tensor, n, tensor->shape[1], "a row of data", err);
	}
	return STATUS_OK;
}

static enum status find_data(struct tensor *tensor, struct json_value input, struct err *err)
{
	struct json_value data, first;

	if (!json_member(input, STR("data"), &data) || data.type != JSON_ARRAY)
		return REFUSE(tensor, err, "%s", "data must be a list, or stand behind the JSON (binary_data_size)");
	json_iter_init(&tensor->outer, data);
	if (!json_next(&tensor->outer, NULL, &first))
		return wrong_count(tensor, 0, tensor->elements, "data", err);
	tensor->nested = first.type == JSON_ARRAY;
	json_iter_init(&tensor->outer, data);
	json_iter_init(&tensor->inner, (struct json_value){.type = JSON_NULL, .text = STR("")});
	if (tensor->nested)
		return check_nested(tensor, data, err);
	size_t n = count(data);
	return n == tensor->elements ? STATUS_OK : wrong_count(tensor, n, tensor->elements, "data", err);
}

/* The lengths of BYTES must add up, too. */
static enum status check_bytes(const struct tensor *tensor, struct err *err)
{
	struct str rest = tensor->bytes;
	size_t n = 0;
	uint32_t length;

	for (; rest.n > 0; n++) {
		if (rest.n < sizeof(length))
			return REFUSE(tensor, err, "the length of element %zu is cut off", n);
		memcpy(&length, rest.p, sizeof(length));
		length = le32toh(length);
		if (length > rest.n - sizeof(length))
			return REFUSE(tensor, err, "element %zu is longer than the data", n);
		rest.p += sizeof(length) + length;
		rest.n -= sizeof(length) + length;
	}
	return n == tensor->elements ? STATUS_OK : wrong_count(tensor, n, tensor->elements, "data", err);
}

static enum status find_bytes(struct tensor *tensor, struct json_value size_value, struct json_value input,
			      struct str *binary, struct err *err)
{
	struct json_value data;
	uint64_t size;
	size_t wanted;

	if (size_value.type != JSON_NUMBER || !str_to_u64(size_value.text, INT64_MAX, &size))
		return REFUSE(tensor, err, "%s", "binary_data_size must be a whole number");
	if (json_member(input, STR("data"), &data))
		return REFUSE(tensor, err, "%s", "there is data, and binary_data_size as well");
	if (size > binary->n)
		return REFUSE(tensor, err, "binary_data_size is %" PRIu64 ", but only %zu bytes are left", size,
			      binary->n);
	tensor->binary = true;
	tensor->bytes = (struct str){binary->p, (size_t)size};
	binary->p += size;
	binary->n -= (size_t)size;
	if (tensor->type == TENSOR_BYTES)
		return check_bytes(tensor, err);
	if (__builtin_mul_overflow(tensor->elements, TYPES[tensor->type].size, &wanted) || wanted != size)
		return REFUSE(tensor, err, "binary_data_size is %" PRIu64 ", which does not fit shape and datatype",
			      size);
	return STATUS_OK;
}

enum status tensor_read(struct tensor *tensor, struct json_value input, struct str *binary, struct arena *arena,
			struct err *err)
{
	struct json_value parameters = {0}, size;

	*tensor = (struct tensor){0};
	if (!member_text(input, "name", arena, &tensor->name))
		return err_set(err, STATUS_INVALID, "an input has no name");
	enum status status = read_type(tensor, input, arena, err);
	if (status == STATUS_OK)
		status = read_shape(tensor, input, err);
	if (status != STATUS_OK)
		return status;
	if (json_member(input, STR("parameters"), &parameters) && parameters.type != JSON_OBJECT)
		return REFUSE(tensor, err, "%s", "parameters must be an object");
	if (json_member(parameters, STR("shared_memory_region"), &size))
		return REFUSE(tensor, err, "%s", "shared memory is not supported");
	return json_member(parameters, STR("binary_data_size"), &size) ? find_bytes(tensor, size, input, binary, err)
								       : find_data(tensor, input, err);
}

/* --- elements --- */

static enum status put_float(struct tensor *tensor, double value, struct buf *out, struct err *err)
{
	if (isinf(value))
		return REFUSE(tensor, err, "element %zu is not finite", tensor->taken);
	json_put_double(out, value); /* null when it is not a number */
	return STATUS_OK;
}

/* The nearest number of the type, ties to even, as IEEE 754 has it; infinite past the largest. */
static double round_to(enum tensor_type type, double value)
{
	int exponent;

	if (type == TENSOR_FP64 || value == 0)
		return value;
	if (type == TENSOR_FP32)
		return (double)(float)value;
	frexp(value, &exponent);
	int unit = exponent - TYPES[type].digits;
	if (unit < TYPES[type].least)
		unit = TYPES[type].least;
	double rounded = ldexp(nearbyint(ldexp(value, -unit)), unit);
	double largest = type == TENSOR_FP16 ? 65504.0 : 0x1.fep127;
	return fabs(rounded) > largest ? copysign(INFINITY, value) : rounded;
}

static double half_of(uint16_t bits)
{
	int exponent = bits >> 10 & 31;
	double significand = bits & 1023;
	double value = exponent == 31  ? (significand > 0 ? (double)NAN : (double)INFINITY)
		       : exponent == 0 ? ldexp(significand, -24)
				       : ldexp(1024 + significand, exponent - 25);

	return bits & 0x8000 ? -value : value;
}

static double float_of(enum tensor_type type, uint64_t bits)
{
	uint32_t narrow = (uint32_t)bits;
	double wide;
	float single;

	switch (type) {
	case TENSOR_FP16:
		return half_of((uint16_t)bits);
	case TENSOR_FP64:
		memcpy(&wide, &bits, sizeof(wide));
		return wide;
	case TENSOR_BF16:
		narrow <<= 16;
		break;
	default:
		break;
	}
	memcpy(&single, &narrow, sizeof(single));
	return (double)single;
}

/* The next `size` bytes, zero extended. */
static uint64_t take_bits(struct tensor *tensor, size_t size)
{
	uint64_t bits = 0;

	memcpy(&bits, tensor->bytes.p, size);
	tensor->bytes.p += size;
	tensor->bytes.n -= size;
	return le64toh(bits);
}

static enum status next_binary(struct tensor *tensor, struct buf *out, struct err *err)
{
	size_t size = TYPES[tensor->type].size;
	struct str text;
	uint64_t bits;

	switch (TYPES[tensor->type].kind) {
	case KIND_BOOL:
		bits = take_bits(tensor, size);
		if (bits > 1)
			return REFUSE(tensor, err, "element %zu is no BOOL", tensor->taken);
		buf_u64(out, bits);
		break;
	case KIND_UNSIGNED:
		buf_u64(out, take_bits(tensor, size));
		break;
	case KIND_SIGNED:
		bits = take_bits(tensor, size);
		json_put_i64(out, (int64_t)(bits << (64 - 8 * size)) >> (64 - 8 * size));
		break;
	case KIND_FLOAT:
		return put_float(tensor, float_of(tensor->type, take_bits(tensor, size)), out, err);
	case KIND_BYTES:
		text.n = (size_t)take_bits(tensor, sizeof(uint32_t));
		text.p = tensor->bytes.p;
		tensor->bytes.p += text.n;
		tensor->bytes.n -= text.n;
		if (!str_is_utf8(text))
			return REFUSE(tensor, err, "element %zu is not UTF-8", tensor->taken);
		json_put_string(out, text);
		break;
	}
	return STATUS_OK;
}

/* A whole number within the type's range, also when it is written as 3.0 or 1e3. */
static enum status put_whole(struct tensor *tensor, struct json_value value, struct buf *out, struct err *err)
{
	bool is_signed = TYPES[tensor->type].kind == KIND_SIGNED;
	int bits = (int)TYPES[tensor->type].size * 8 - is_signed;
	uint64_t most = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1, magnitude;
	struct str digits = value.text;
	bool minus = digits.n > 0 && digits.p[0] == '-';
	double number;

	if (value.type != JSON_NUMBER || !json_number(value, &number) || number != floor(number))
		return REFUSE(tensor, err, "element %zu is no %s", tensor->taken, TYPES[tensor->type].name.p);
	digits.p += minus;
	digits.n -= minus;
	if (!str_to_u64(digits, UINT64_MAX, &magnitude)) {
		if (fabs(number) > 0x1p53)
			return REFUSE(tensor, err, "element %zu is out of the range of %s", tensor->taken,
				      TYPES[tensor->type].name.p);
		magnitude = (uint64_t)fabs(number);
	}
	if (magnitude > most + (minus && is_signed) || (minus && !is_signed && magnitude > 0))
		return REFUSE(tensor, err, "element %zu is out of the range of %s", tensor->taken,
			      TYPES[tensor->type].name.p);
	if (minus && magnitude > 0)
		buf_char(out, '-');
	buf_u64(out, magnitude);
	return STATUS_OK;
}

static enum status put_json(struct tensor *tensor, struct json_value value, struct buf *out, struct err *err)
{
	double number;

	switch (TYPES[tensor->type].kind) {
	case KIND_BOOL:
		if (value.type != JSON_TRUE && value.type != JSON_FALSE)
			break;
		buf_char(out, value.type == JSON_TRUE ? '1' : '0');
		return STATUS_OK;
	case KIND_UNSIGNED:
	case KIND_SIGNED:
		return put_whole(tensor, value, out, err);
	case KIND_FLOAT:
		if (value.type == JSON_NULL)
			return put_float(tensor, (double)NAN, out, err);
		if (value.type != JSON_NUMBER)
			break;
		if (!json_number(value, &number))
			number = (double)INFINITY;
		return put_float(tensor, round_to(tensor->type, number), out, err);
	case KIND_BYTES:
		if (value.type != JSON_STRING && value.type != JSON_NULL)
			break;
		buf_str(out, value.text);
		return STATUS_OK;
	}
	return REFUSE(tensor, err, "element %zu is no %s", tensor->taken, TYPES[tensor->type].name.p);
}

static enum status next_json(struct tensor *tensor, struct buf *out, struct err *err)
{
	struct json_value value, row;

	if (!tensor->nested) {
		if (!json_next(&tensor->outer, NULL, &value))
			return REFUSE(tensor, err, "%s", "data ends too early");
	} else if (!json_next(&tensor->inner, NULL, &value)) {
		if (!json_next(&tensor->outer, NULL, &row))
			return REFUSE(tensor, err, "%s", "data ends too early");
		json_iter_init(&tensor->inner, row);
		if (!json_next(&tensor->inner, NULL, &value))
			return REFUSE(tensor, err, "%s", "data ends too early");
	}
	return put_json(tensor, value, out, err);
}

enum status tensor_next(struct tensor *tensor, struct buf *out, struct err *err)
{
	enum status status = tensor->binary ? next_binary(tensor, out, err) : next_json(tensor, out, err);

	tensor->taken++;
	return status;
}

void tensor_put_double(struct buf *out, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	bits = htole64(bits);
	buf_put(out, &bits, sizeof(bits));
}

void tensor_put_bytes(struct buf *out, struct str bytes)
{
	uint32_t length = htole32((uint32_t)bytes.n);

	buf_put(out, &length, sizeof(length));
	buf_str(out, bytes);
}
