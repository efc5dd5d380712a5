/* The scan of FastCGI records: a longer look never takes back what a shorter one said. */
#include "fuzz.h"

#include "http/fcgi_scan.h"

#include <string.h>

/* The same bytes in memory of just their size. */
static enum fcgi_scan scan(const uint8_t *data, size_t n)
{
	uint8_t *copy = malloc(n + (n == 0));

	if (!copy)
		abort();
	if (n > 0)
		memcpy(copy, data, n);
	enum fcgi_scan result = fcgi_scan(copy, n);
	free(copy);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum fcgi_scan all = scan(data, size);
	const size_t cuts[] = {size / 4, size / 2, size - size / 4, size > 0 ? size - 1 : 0};

	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		enum fcgi_scan part = scan(data, cuts[i]);
		if (part == FCGI_SCAN_WHOLE)
			demand(all == FCGI_SCAN_WHOLE, "what follows a whole request does not matter");
		else if (part == FCGI_SCAN_BAD)
			demand(all == FCGI_SCAN_BAD, "what is bad stays bad");
		else
			demand(all == FCGI_SCAN_BAD || all >= part, "more bytes are not less of a request");
	}
	if (all == FCGI_SCAN_WHOLE)
		demand(size >= 32 && data[0] == 1 && data[1] == 1, "four records at the least");
	return 0;
}
