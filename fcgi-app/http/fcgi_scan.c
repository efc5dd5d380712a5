/* A walk over record headers. The parameters' inside is checked too (lengths within the stream, names and values not
 * split beyond its end), because libfcgi allocates what a length says before it reads. */
#include "http/fcgi_scan.h"

#include <stdbool.h>

enum { HEADER_BYTES = 8, BEGIN_BODY_BYTES = 8, VERSION = 1, RESPONDER = 1 };
enum { TYPE_BEGIN = 1, TYPE_PARAMS = 4, TYPE_STDIN = 5 };
enum { PARAMS_MAX = 256 * 1024 };

struct record {
	unsigned type, id;
	size_t content, padding;
	const uint8_t *body;
};

/* The bytes of the parameter stream, over all its records. */
struct params {
	uint64_t need;   /* bytes of the current value (or name and value) that must still come */
	uint64_t length; /* a length being read */
	int length_left; /* bytes of that length that must still come */
	uint64_t name;   /* length of the name, once known */
	bool have_name;
	uint64_t total;
};

static bool take_length_byte(struct params *params, uint8_t byte)
{
	if (params->length_left == 0) {
		if (byte & 0x80) {
			params->length = byte & 0x7f;
			params->length_left = 3;
			return true;
		}
		params->length = byte;
	} else {
		params->length = params->length << 8 | byte;
		if (--params->length_left > 0)
			return true;
	}
	if (params->length > PARAMS_MAX)
		return false;
	if (!params->have_name) {
		params->have_name = true;
		params->name = params->length;
	} else {
		params->need = params->name + params->length;
		params->have_name = false;
	}
	return true;
}

static bool take_params(struct params *params, const uint8_t *p, size_t n)
{
	params->total += n;
	if (params->total > PARAMS_MAX)
		return false;
	for (size_t i = 0; i < n;) {
		if (params->need > 0) {
			size_t step = n - i < params->need ? n - i : (size_t)params->need;
			params->need -= step;
			i += step;
		} else if (!take_length_byte(params, p[i++])) {
			return false;
		}
	}
	return true;
}

static bool read_record(const uint8_t *p, size_t n, struct record *record)
{
	if (n < HEADER_BYTES)
		return false;
	record->type = p[1];
	record->id = (unsigned)p[2] << 8 | p[3];
	record->content = (size_t)p[4] << 8 | p[5];
	record->padding = p[6];
	record->body = p + HEADER_BYTES;
	return n >= HEADER_BYTES + record->content + record->padding;
}

static bool is_begin(const struct record *record)
{
	return record->type == TYPE_BEGIN && record->id != 0 && record->content == BEGIN_BODY_BYTES &&
	       record->body[0] == 0 && record->body[1] == RESPONDER;
}

enum fcgi_scan fcgi_scan(const uint8_t *p, size_t n)
{
	struct params params = {0};
	struct record record;
	size_t at = 0;
	unsigned id = 0;
	bool head = false;

	for (;;) {
		if (n - at >= 2 && (p[at] != VERSION || (id == 0 && p[at + 1] != TYPE_BEGIN)))
			return FCGI_SCAN_BAD;
		if (!read_record(p + at, n - at, &record))
			return head ? FCGI_SCAN_HEAD : FCGI_SCAN_PARTIAL;
		at += HEADER_BYTES + record.content + record.padding;
		if (id == 0) {
			if (!is_begin(&record))
				return FCGI_SCAN_BAD;
			id = record.id;
			continue;
		}
		if (record.id != id || record.type != (head ? TYPE_STDIN : TYPE_PARAMS))
			return FCGI_SCAN_BAD;
		if (head && record.content == 0)
			return FCGI_SCAN_WHOLE;
		if (!head && record.content == 0) {
			if (params.need > 0 || params.length_left > 0 || params.have_name)
				return FCGI_SCAN_BAD;
			head = true;
		} else if (!head && !take_params(&params, record.body, record.content)) {
			return FCGI_SCAN_BAD;
		}
	}
}
