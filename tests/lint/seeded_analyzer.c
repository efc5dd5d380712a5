/* A fault for gcc -fanalyzer: freed twice on one path. */
#include <stdlib.h>

int seeded_analyzer(int n);

int seeded_analyzer(int n)
{
	char *text = malloc(16);

	if (!text)
		return -1;
	if (n > 0)
		free(text);
	free(text);
	return 0;
}
