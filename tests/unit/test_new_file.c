/* Files that appear whole. */
#include "store/new_file.h"

#include "store_helpers.h"

#include <sys/stat.h>

static void appears_whole(void)
{
	char temp[PATH_MAX], path[512];
	struct err err = {0};
	struct stat st;

	snprintf(path, sizeof(path), "%s", test_path("copy"));
	OK(new_file_make(path, temp, &err));
	CU_ASSERT_NOT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(stat(temp, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0600);
	OK(new_file_keep(temp, path, &err));
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(st.st_nlink, 1);
	CU_ASSERT_NOT_EQUAL(stat(temp, &st), 0);
}

static void replaces_nothing(void)
{
	char temp[PATH_MAX], path[512];
	struct err err = {0};
	struct stat st;

	snprintf(path, sizeof(path), "%s", test_path("taken"));
	OK(new_file_make(path, temp, &err));
	CU_ASSERT_EQUAL_FATAL(symlink("nowhere", path), 0); /* by somebody else, meanwhile */
	IS(new_file_keep(temp, path, &err), STATUS_CONFLICT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "is there already"));
	CU_ASSERT_NOT_EQUAL(stat(temp, &st), 0);
	CU_ASSERT_EQUAL(lstat(path, &st), 0);
	CU_ASSERT_TRUE(S_ISLNK(st.st_mode));
	IS(new_file_make(path, temp, &err), STATUS_CONFLICT);
	IS(new_file_make(test_path("no/such/folder"), temp, &err), STATUS_UNAVAILABLE);
}

static const struct unit_case CASES[] = {
	{"appears whole", appears_whole},
	{"replaces nothing", replaces_nothing},
};

int main(void)
{
	return UNIT_RUN("new_file", CASES);
}
