/* The manifest. */
#include "model/manifest.h"

#include <stdlib.h>

void manifest_free(struct manifest *manifest)
{
	if (!manifest)
		return;
	arena_release(&manifest->arena);
	free(manifest);
}
