/* A CUnit suite from a table. */
#include "unit.h"

#include <CUnit/Basic.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char temp_dir[PATH_MAX];
static pid_t temp_owner;

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void remove_temp_dir(void)
{
	if (temp_dir[0] && getpid() == temp_owner)
		nftw(temp_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *unit_temp_dir(void)
{
	const char *base = getenv("TMPDIR");

	if (!temp_dir[0]) {
		snprintf(temp_dir, sizeof(temp_dir), "%s/appcore-unit-XXXXXX", base ? base : "/tmp");
		if (!mkdtemp(temp_dir)) {
			perror(temp_dir);
			exit(111);
		}
		temp_owner = getpid();
		atexit(remove_temp_dir);
	}
	return temp_dir;
}

int unit_run(const char *suite, const struct unit_case *cases, size_t n)
{
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 111;
	CU_pSuite s = CU_add_suite(suite, NULL, NULL);
	for (size_t i = 0; s && i < n; i++)
		if (!CU_add_test(s, cases[i].name, cases[i].run))
			return 111;
	/* So that a program that had to be ended has said which test it was in. */
	setvbuf(stdout, NULL, _IONBF, 0);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	unsigned failed = CU_get_number_of_failures();
	unsigned ran = CU_get_number_of_tests_run();
	CU_cleanup_registry();
	return failed == 0 && ran == n && n > 0 ? 0 : 1;
}
