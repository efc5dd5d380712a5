/* What the fuzz targets share. */
#ifndef APPCORE_TESTS_FUZZ_H
#define APPCORE_TESTS_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An input must end here by a crash: libFuzzer keeps what crashes. */
static inline void demand(bool holds, const char *what)
{
	if (!holds) {
		fprintf(stderr, "broken: %s\n", what);
		abort();
	}
}

#endif
