/* A fault for the list of functions that nobody may call. */
#include <string.h>

void seeded_banned(char *to, const char *from);

void seeded_banned(char *to, const char *from)
{
	strcpy(to, from);
}
