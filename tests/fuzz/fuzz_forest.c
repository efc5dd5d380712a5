/* Files of forests. */
#include "loader.h"

static const char *const MANIFESTS[] = {
	LOADER_MANIFEST("forest", LOADER_TWO, LOADER_REGRESSION, ""),
	LOADER_MANIFEST("forest", LOADER_TWO_MISSING, LOADER_BINARY, ""),
	LOADER_MANIFEST("forest", LOADER_TWO, LOADER_THREE, ""),
	LOADER_MANIFEST("forest", LOADER_TWO_MISSING, LOADER_REGRESSION, LOADER_STEPS),
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	loader_run(forest_load, MANIFESTS, sizeof(MANIFESTS) / sizeof(MANIFESTS[0]), data, size);
	return 0;
}
