/* A fault for clang-tidy: the size of a pointer where that of the array was meant. */
#include <string.h>

void seeded_tidy(int *numbers);

void seeded_tidy(int *numbers)
{
	memset(numbers, 0, sizeof(numbers));
}
