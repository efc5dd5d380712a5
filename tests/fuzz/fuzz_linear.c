/* Files of linear and logistic models. */
#include "loader.h"

static const char *const MANIFESTS[] = {
	LOADER_MANIFEST("linear", LOADER_TWO, LOADER_REGRESSION, ""),
	LOADER_MANIFEST("linear", LOADER_TWO_MISSING, LOADER_REGRESSION, LOADER_STEPS),
	LOADER_MANIFEST("logistic", LOADER_TWO, LOADER_BINARY, ""),
	LOADER_MANIFEST("logistic", LOADER_TWO_MISSING, LOADER_THREE, LOADER_STEPS),
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const size_t n = sizeof(MANIFESTS) / sizeof(MANIFESTS[0]);

	loader_run(size > 0 && data[0] % n >= 2 ? logistic_load : linear_load, MANIFESTS, n, data, size);
	return 0;
}
