/* How far a word is from another: whether it is likely to be that one, misspelt. */
#ifndef APPCORE_BASE_SPELLING_H
#define APPCORE_BASE_SPELLING_H

#include "base/str.h"

enum { SPELLING_BYTES = 64 };

/* The letters that have to be changed, added, taken away, or swapped with their neighbour, to make one of the other
 * (optimal string alignment). SPELLING_BYTES for words that are longer than that. */
int spelling_distance(struct str a, struct str b) __attribute__((pure));

#endif
