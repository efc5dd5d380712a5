/* Identifiers: UUID version 7 (RFC 9562, section 5.7) made from the identity that nginx gives a request at the edge, so
 * that the same request, tried again on another worker, writes the same key. */
#ifndef APPCORE_BASE_ID_H
#define APPCORE_BASE_ID_H

#include "base/str.h"

struct id {
	uint8_t b[16];
};

enum { ID_TEXT_BYTES = 37 }; /* canonical text and NUL */

/* The identity at the edge: nginx's $msec as milliseconds since 1970 UTC, and $request_id's 16 bytes. */
struct edge_identity {
	int64_t ms;
	uint8_t random[16];
};

/* Reads "1700000000.123" and 32 lower-case hex digits. False when either is not of that form. */
bool edge_parse(struct str msec, struct str request_id, struct edge_identity *out)
	__attribute__((nonnull, warn_unused_result));

/* A fresh identity from this process's clock and random source (command line, tests). */
void edge_generate(struct edge_identity *out) __attribute__((nonnull));

/* UUIDv7: 48 bits of time, version, 12 + 62 bits of `edge->random`. */
struct id id_of_edge(const struct edge_identity *edge) __attribute__((nonnull));

/* The i-th row of a batch: the same time, random part from a hash (BLAKE2b) of the identity and i. */
struct id id_of_edge_row(const struct edge_identity *edge, uint64_t i) __attribute__((nonnull));

/* Canonical text (8-4-4-4-12, lower case). */
void id_format(const struct id *id, char out[static ID_TEXT_BYTES]) __attribute__((nonnull));

/* Reads canonical text of any UUID version, either case. False when it is none. */
bool id_parse(struct str text, struct id *out) __attribute__((nonnull, warn_unused_result));

/* Milliseconds since 1970 of a version 7 id. */
int64_t id_time_ms(const struct id *id) __attribute__((nonnull));

/* Lower-case hex of `n` bytes; `out` holds 2n characters and a NUL. */
void hex_format(const uint8_t *bytes, size_t n, char *out) __attribute__((nonnull));

/* Reads exactly 2n hex digits of either case. */
bool hex_parse(struct str text, uint8_t *bytes, size_t n) __attribute__((nonnull, warn_unused_result));

#endif
