/* Row by row of the table of distances between all beginnings of both words; three rows are enough. */
#include "base/spelling.h"

static int least(int a, int b)
{
	return a < b ? a : b;
}

int spelling_distance(struct str a, struct str b)
{
	int rows[3][SPELLING_BYTES + 1];

	if (a.n > SPELLING_BYTES || b.n > SPELLING_BYTES)
		return SPELLING_BYTES;
	for (size_t k = 0; k <= b.n; k++)
		rows[0][k] = (int)k;
	for (size_t i = 1; i <= a.n; i++) {
		int *row = rows[i % 3];
		const int *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
		row[0] = (int)i;
		for (size_t k = 1; k <= b.n; k++) {
			row[k] = least(least(above[k], row[k - 1]) + 1, above[k - 1] + (a.p[i - 1] != b.p[k - 1]));
			if (i > 1 && k > 1 && a.p[i - 1] == b.p[k - 2] && a.p[i - 2] == b.p[k - 1])
				row[k] = least(row[k], before[k - 2] + 1);
		}
	}
	return rows[a.n % 3][b.n];
}
