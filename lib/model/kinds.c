/* The table of kinds. */
#include "model/kinds.h"

const struct kind KINDS[] = {
	{.name = "", .load = NULL, .accepts = 0},
};
const int KINDS_N = sizeof(KINDS) / sizeof(KINDS[0]);
