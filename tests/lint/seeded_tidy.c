/* A fault for clang-tidy: the length of a pointer where that of the array was meant. */
#include <stddef.h>

size_t seeded_tidy(const int *numbers);

size_t seeded_tidy(const int *numbers)
{
	return sizeof(numbers) / sizeof(numbers[0]);
}
