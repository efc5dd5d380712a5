/* A fault for cppcheck: one element beyond the array. */
int seeded_cppcheck(void);

int seeded_cppcheck(void)
{
	int numbers[4] = {0};

	numbers[4] = 1;
	return numbers[0];
}
