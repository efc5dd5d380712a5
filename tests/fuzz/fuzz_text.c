/* Small texts from strangers: UTF-8, times, durations, identifiers, hex, whole numbers. What is read is written, and
 * read again as the same. */
#include "base/clock.h"
#include "base/id.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An input must end here by a crash: libFuzzer keeps what crashes. */
static void demand(bool holds, const char *what)
{
	if (!holds) {
		fprintf(stderr, "broken: %s\n", what);
		abort();
	}
}

static void try_time(struct str text)
{
	char iso[CLOCK_ISO_BYTES], log[CLOCK_LOG_BYTES];
	int64_t us, again, seconds;

	if (clock_parse_iso(text, &us)) {
		clock_format_iso(us, iso);
		clock_format_log(us, log);
		demand(strlen(iso) == CLOCK_ISO_BYTES - 1 && strlen(log) == CLOCK_LOG_BYTES - 1,
		       "times fill their form");
		demand(clock_parse_iso(str_of(iso), &again) && again == us, "a time reads back");
	}
	if (clock_parse_duration(text, &seconds))
		demand(seconds >= 0 && text.n >= 2, "a duration is not negative");
	/* Any microseconds at all can be told. */
	if (text.n >= sizeof(us)) {
		memcpy(&us, text.p, sizeof(us));
		clock_format_iso(us, iso);
		demand(clock_parse_iso(str_of(iso), &again), "any time can be told");
	}
}

static void try_id(struct str text)
{
	struct id id, again;
	struct edge_identity edge;
	char written[ID_TEXT_BYTES];
	struct str rest = text, msec = str_cut(&rest, ' ');

	if (id_parse(text, &id)) {
		id_format(&id, written);
		demand(str_eq_nocase(str_of(written), text), "an id is written as it was read");
		demand(id_parse(str_of(written), &again) && memcmp(&id, &again, sizeof(id)) == 0, "an id reads back");
	}
	if (edge_parse(msec, rest, &edge)) {
		demand(edge.ms >= 0 && edge.ms < INT64_C(1) << 48, "the time fits an id");
		id = id_of_edge(&edge);
		again = id_of_edge_row(&edge, text.n);
		demand(id_time_ms(&id) == edge.ms && id_time_ms(&again) == edge.ms, "an id keeps the time");
	}
}

static void try_hex(struct str text)
{
	uint8_t bytes[64];
	char written[2 * sizeof(bytes) + 1];
	size_t n = text.n / 2;

	if (n <= sizeof(bytes) && hex_parse(text, bytes, n)) {
		hex_format(bytes, n, written);
		demand(str_eq_nocase(str_of(written), text), "hex is written as it was read");
	}
}

static void try_number(struct str text)
{
	char written[24];
	uint64_t value = 7, max = text.n > 3 ? UINT64_MAX : 99;

	if (!str_to_u64(text, max, &value)) {
		demand(value == 7, "what is none leaves no trace");
		return;
	}
	demand(value <= max, "the bound holds");
	int n = snprintf(written, sizeof(written), "%llu", (unsigned long long)value);
	while (text.n > 1 && text.p[0] == '0')
		text = (struct str){text.p + 1, text.n - 1};
	demand(str_eq(text, (struct str){written, (size_t)n}), "a number is written as it was read");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = {(const char *)data, size};
	struct str trimmed = str_trim(text), rest = text;
	size_t pieces = 0, bytes = 0;

	demand(trimmed.n <= text.n && str_eq_nocase(trimmed, trimmed), "trimming only takes away");
	while (rest.n > 0) {
		bytes += str_cut(&rest, ',').n + (rest.p != NULL);
		pieces++;
	}
	demand(bytes == size && pieces <= size, "cutting loses nothing");
	if (str_is_token(text))
		demand(str_is_utf8(text), "a token is ASCII");
	(void)str_is_utf8(text);
	try_time(text);
	try_id(text);
	try_hex(text);
	try_number(text);
	return 0;
}
