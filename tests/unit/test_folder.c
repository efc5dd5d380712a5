/* The folder of models: what gets in, what is refused, and that nothing half-installed stays. */
#include "model_helpers.h"
#include "unit.h"

#include "model/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char INPUTS[] = "[{\"name\":\"a\",\"type\":\"number\"}]", OUTPUT[] = "{\"type\":\"regression\"}";

static const char *path_of(const char *name)
{
	static char paths[32][512];
	static int next;
	static const char *dir;

	if (!dir)
		dir = unit_temp_dir();
	char *path = paths[next++ % 32];
	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static void write_text(const char *path, const char *text, size_t n)
{
	FILE *file = fopen(path, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	CU_ASSERT_EQUAL(fwrite(text, 1, n, file), n);
	CU_ASSERT_EQUAL(fclose(file), 0);
}

/* A directory with a model that multiplies by `factor`, which its example says, too; NULL: says otherwise. */
static const char *source_of(const char *name, int factor, bool example_is_right)
{
	char file[200], example[100], path[600];
	const char *dir = path_of(name);

	snprintf(file, sizeof(file), "{\"format\":\"appcore linear 1\",\"coefficients\":[[%d]],\"intercepts\":[0]}",
		 factor);
	snprintf(example, sizeof(example), "[{\"input\":[1],\"result\":%d}]", example_is_right ? factor : factor + 1);
	struct buf manifest = helper_manifest("linear", INPUTS, "", OUTPUT, example, file);
	mkdir(dir, 0700);
	snprintf(path, sizeof(path), "%s/m.json", dir);
	write_text(path, file, strlen(file));
	snprintf(path, sizeof(path), "%s/manifest.json", dir);
	write_text(path, manifest.p, manifest.n);
	buf_release(&manifest);
	return dir;
}

static enum status add(const char *dir, const char *source, const char *name, const char *version, struct err *err)
{
	struct folder_candidate candidate;
	struct model *model = NULL;

	enum status status = folder_candidate_read(&candidate, source, NULL, err);
	if (status == STATUS_OK)
		status = folder_add(&model, dir, str_of(name), str_of(version), &candidate, err);
	if (status == STATUS_OK)
		CU_ASSERT_STRING_EQUAL(model->version, version);
	model_drop(model);
	folder_candidate_release(&candidate);
	return status;
}

static double result_of(const char *dir, const char *name, const char *version)
{
	struct model *model;
	struct err err = {0};

	if (folder_load(&model, dir, str_of(name), str_of(version), (struct str){0}, &err) != STATUS_OK) {
		printf("\n%s\n", err.text);
		return NAN;
	}
	double result = helper_result(model, "[1]");
	model_drop(model);
	return result;
}

static bool count_entry(void *arg, struct str name, struct str version)
{
	(void)name;
	(void)version;
	return ++*(int *)arg < 100;
}

static int versions_in(const char *dir)
{
	int n = 0;

	CU_ASSERT_EQUAL(folder_list(dir, count_entry, &n, NULL), STATUS_OK);
	return n;
}

/* Entries of a directory, hidden ones too, but for the lock. */
static int entries_in(const char *path)
{
	const struct dirent *entry;
	DIR *dir = opendir(path);
	int n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
	while ((entry = readdir(dir)))
		n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		     strcmp(entry->d_name, ".lock") != 0;
	closedir(dir);
	return n;
}

static void says(enum status status, enum status wanted, const struct err *err, const char *text)
{
	CU_ASSERT_EQUAL(status, wanted);
	if (!strstr(err->text, text))
		printf("\n%s\ninstead of\n%s\n", err->text, text);
	CU_ASSERT_PTR_NOT_NULL(strstr(err->text, text));
}

static void adds_and_loads(void)
{
	const char *dir = path_of("adds");
	struct err err = {0};

	CU_ASSERT_EQUAL(versions_in(dir), 0);
	CU_ASSERT_EQUAL(add(dir, source_of("s2", 2, true), "twice", "1", &err), STATUS_OK);
	CU_ASSERT_EQUAL(add(dir, source_of("s3", 3, true), "twice", "2", &err), STATUS_OK);
	CU_ASSERT_EQUAL(versions_in(dir), 2);
	CU_ASSERT_EQUAL(result_of(dir, "twice", "1"), 2);
	CU_ASSERT_EQUAL(result_of(dir, "twice", "2"), 3);
	says(add(dir, path_of("s3"), "twice", "1", &err), STATUS_CONFLICT, &err, "Model twice 1 is there already.");
	CU_ASSERT_EQUAL(result_of(dir, "twice", "1"), 2);
	CU_ASSERT_EQUAL(entries_in(dir), 1);

	struct model *model;
	struct manifest *manifest;
	char hash[MODEL_HASH_BYTES];
	CU_ASSERT_EQUAL(folder_read_manifest(&manifest, dir, STR("twice"), STR("1"), &err), STATUS_OK);
	memcpy(hash, manifest->hash, sizeof(hash));
	manifest_free(manifest);
	CU_ASSERT_EQUAL(folder_load(&model, dir, STR("twice"), STR("1"), str_of(hash), &err), STATUS_OK);
	model_drop(model);
	says(folder_load(&model, dir, STR("twice"), STR("2"), str_of(hash), &err), STATUS_CONFLICT, &err,
	     "The folder has another twice 2 than was added");
	CU_ASSERT_EQUAL(folder_remove(dir, STR("twice"), STR("1"), &err), STATUS_OK);
	says(folder_remove(dir, STR("twice"), STR("1"), &err), STATUS_NOT_FOUND, &err,
	     "The folder of models has no twice 1.");
	CU_ASSERT_EQUAL(versions_in(dir), 1);
	CU_ASSERT_EQUAL(folder_remove(dir, STR("twice"), STR("2"), &err), STATUS_OK);
	CU_ASSERT_EQUAL(entries_in(dir), 0);
}

static void takes_a_file_with_its_manifest(void)
{
	const char *dir = path_of("files");
	struct folder_candidate candidate;
	char file[600], manifest[600];
	struct err err = {0};

	source_of("f5", 5, true);
	snprintf(file, sizeof(file), "%s/m.json", path_of("f5"));
	snprintf(manifest, sizeof(manifest), "%s/manifest.json", path_of("f5"));
	CU_ASSERT_EQUAL(add(dir, file, "five", "1", &err), STATUS_OK);
	CU_ASSERT_EQUAL(rename(manifest, path_of("elsewhere.json")), 0);
	CU_ASSERT_EQUAL(folder_candidate_read(&candidate, file, NULL, &err), STATUS_OK);
	CU_ASSERT_PTR_NULL(candidate.manifest);
	folder_candidate_release(&candidate);
	CU_ASSERT_EQUAL(folder_candidate_read(&candidate, file, path_of("elsewhere.json"), &err), STATUS_OK);
	CU_ASSERT_PTR_NOT_NULL(candidate.manifest);
	folder_candidate_release(&candidate);
	says(folder_candidate_read(&candidate, file, path_of("nowhere.json"), &err), STATUS_NOT_FOUND, &err,
	     "nowhere.json is not there.");
	folder_candidate_release(&candidate);
	CU_ASSERT_EQUAL(result_of(dir, "five", "1"), 5);
}

static void refuses_what_is_broken(void)
{
	const char *dir = path_of("broken");
	char path[600];
	struct err err = {0};

	says(add(dir, source_of("wrong", 2, false), "m", "1", &err), STATUS_INVALID, &err, "examples[0]");
	CU_ASSERT_EQUAL(access(dir, F_OK), -1);
	says(add(dir, path_of("nothing"), "m", "1", &err), STATUS_NOT_FOUND, &err, "is not there");
	says(add(dir, source_of("s", 2, true), "../m", "1", &err), STATUS_INVALID, &err, "");
	says(add(dir, path_of("s"), "m", "", &err), STATUS_INVALID, &err, "");
	snprintf(path, sizeof(path), "%s/m.json", path_of("s"));
	write_text(path, "{}", 2);
	says(add(dir, path_of("s"), "m", "1", &err), STATUS_INVALID, &err, "hash: the file m.json has");
	CU_ASSERT_EQUAL(truncate(path, (off_t)2 << 30), 0);
	says(add(dir, path_of("s"), "m", "1", &err), STATUS_TOO_LARGE, &err,
	     "m.json has 2147483648 bytes, at most 1073741824 are read.");
	CU_ASSERT_EQUAL(unlink(path), 0);
	CU_ASSERT_EQUAL(mkfifo(path, 0600), 0);
	says(add(dir, path_of("s"), "m", "1", &err), STATUS_INVALID, &err, "m.json is no plain file.");
	CU_ASSERT_EQUAL(unlink(path), 0);
	CU_ASSERT_EQUAL(symlink("/etc/passwd", path), 0);
	says(add(dir, path_of("s"), "m", "1", &err), STATUS_INVALID, &err, "m.json is a symbolic link");
	CU_ASSERT_EQUAL(unlink(path), 0);
	CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
	says(add(dir, path_of("s"), "m", "1", &err), STATUS_INVALID, &err, "m.json is no plain file.");
	CU_ASSERT_EQUAL(access(dir, F_OK), -1);
}

/* What lies in the folder may have been changed since it was added. */
static void loads_nothing_from_elsewhere(void)
{
	const char *dir = path_of("links");
	char path[600], other[600];
	struct model *model;
	struct err err = {0};

	CU_ASSERT_EQUAL(add(dir, source_of("l2", 2, true), "m", "1", &err), STATUS_OK);
	snprintf(path, sizeof(path), "%s/m/2", dir);
	CU_ASSERT_EQUAL(symlink("1", path), 0);
	CU_ASSERT_NOT_EQUAL(folder_load(&model, dir, STR("m"), STR("2"), (struct str){0}, &err), STATUS_OK);
	snprintf(path, sizeof(path), "%s/n", dir);
	CU_ASSERT_EQUAL(symlink("m", path), 0);
	CU_ASSERT_NOT_EQUAL(folder_load(&model, dir, STR("n"), STR("1"), (struct str){0}, &err), STATUS_OK);
	snprintf(path, sizeof(path), "%s/m/1/m.json", dir);
	snprintf(other, sizeof(other), "%s/m/1/other", dir);
	CU_ASSERT_EQUAL(rename(path, other), 0);
	says(folder_load(&model, dir, STR("m"), STR("1"), (struct str){0}, &err), STATUS_NOT_FOUND, &err,
	     "m.json is not there.");
	CU_ASSERT_EQUAL(symlink("other", path), 0);
	says(folder_load(&model, dir, STR("m"), STR("1"), (struct str){0}, &err), STATUS_INVALID, &err,
	     "m.json is a symbolic link, which is not followed.");
	CU_ASSERT_EQUAL(unlink(path), 0);
	CU_ASSERT_EQUAL(rename(other, path), 0);
	CU_ASSERT_EQUAL(result_of(dir, "m", "1"), 2);
	char manifest[600];
	snprintf(manifest, sizeof(manifest), "%s/m/1/manifest.json", dir);
	CU_ASSERT_EQUAL(rename(manifest, other), 0);
	CU_ASSERT_EQUAL(symlink("other", manifest), 0);
	says(folder_load(&model, dir, STR("m"), STR("1"), (struct str){0}, &err), STATUS_INVALID, &err,
	     "manifest.json is a symbolic link, which is not followed.");
	CU_ASSERT_EQUAL(unlink(manifest), 0);
	CU_ASSERT_EQUAL(rename(other, manifest), 0);
	CU_ASSERT_EQUAL(truncate(path, 10), 0);
	says(folder_load(&model, dir, STR("m"), STR("1"), (struct str){0}, &err), STATUS_INVALID, &err, "hash:");
	CU_ASSERT_PTR_NULL(model);
}

static void leftovers_are_removed(void)
{
	const char *dir = path_of("left");
	char path[600];
	struct err err = {0};

	CU_ASSERT_EQUAL(mkdir(dir, 0700), 0);
	snprintf(path, sizeof(path), "%s/.new", dir);
	CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/.new/half", dir);
	write_text(path, "half", 4);
	snprintf(path, sizeof(path), "%s/.old", dir);
	CU_ASSERT_EQUAL(symlink("/tmp", path), 0);
	CU_ASSERT_EQUAL(versions_in(dir), 0);
	CU_ASSERT_EQUAL(add(dir, source_of("left2", 2, true), "m", "1", &err), STATUS_OK);
	CU_ASSERT_EQUAL(entries_in(dir), 1);
	CU_ASSERT_EQUAL(access("/tmp", F_OK), 0);
	CU_ASSERT_EQUAL(result_of(dir, "m", "1"), 2);
}

/* As on a disk that is full: no file may grow past 100 bytes. */
static void a_full_disk_leaves_nothing(void)
{
	const char *dir = path_of("full"), *source = source_of("full2", 2, true);
	struct rlimit limit, small;
	struct err err = {0};

	CU_ASSERT_EQUAL(getrlimit(RLIMIT_FSIZE, &limit), 0);
	small = (struct rlimit){.rlim_cur = 20, .rlim_max = limit.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &small), 0);
	enum status status = add(dir, source, "m", "1", &err);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
	says(status, STATUS_UNAVAILABLE, &err, "can't be written: File too large.");
	CU_ASSERT_EQUAL(entries_in(dir), 0);
	CU_ASSERT_EQUAL(add(dir, source, "m", "1", &err), STATUS_OK);
}

/* Killed anywhere, an add leaves the whole version or none. */
static void a_killed_add_leaves_all_or_nothing(void)
{
	const char *dir = path_of("killed"), *source = source_of("killed2", 2, true);
	struct err err = {0};
	int there = 0;

	for (int i = 0; i < 40; i++) {
		char version[16];
		snprintf(version, sizeof(version), "%d", i);
		pid_t pid = fork();
		if (pid == 0)
			_exit(add(dir, source, "m", version, NULL) == STATUS_OK ? 0 : 1);
		usleep((unsigned)(i * 25));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		struct model *model;
		enum status status = folder_load(&model, dir, STR("m"), str_of(version), (struct str){0}, &err);
		CU_ASSERT_TRUE(status == STATUS_OK || status == STATUS_NOT_FOUND);
		there += status == STATUS_OK;
		model_drop(model);
	}
	CU_ASSERT_EQUAL(add(dir, source, "m", "last", &err), STATUS_OK);
	CU_ASSERT_EQUAL(versions_in(dir), there + 1);
	CU_ASSERT_EQUAL(entries_in(dir), 1);
}

static void adds_at_once(void)
{
	enum { CHILDREN = 8 };
	const char *dir = path_of("race"), *source = source_of("race2", 2, true);
	pid_t pids[CHILDREN];
	int added = 0, status;

	for (int i = 0; i < CHILDREN; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(add(dir, source, "m", "1", NULL) == STATUS_OK ? 0 : 1);
	}
	for (int i = 0; i < CHILDREN; i++)
		if (waitpid(pids[i], &status, 0) == pids[i] && WIFEXITED(status))
			added += WEXITSTATUS(status) == 0;
	CU_ASSERT_EQUAL(added, 1);
	CU_ASSERT_EQUAL(result_of(dir, "m", "1"), 2);
	CU_ASSERT_EQUAL(entries_in(dir), 1);
}

struct expected {
	const char *path;
	mode_t mode;
};

/* The service reads what an operator added with another umask, or as root. */
static void the_service_can_read_it(void)
{
	static const struct expected ALL[] = {{"", 0755},     {"/.lock", 0644},      {"/m", 0755},
					      {"/m/1", 0755}, {"/m/1/m.json", 0644}, {"/m/1/manifest.json", 0644}};
	const char *source = source_of("umask2", 2, true), *above = path_of("umask");
	uid_t owner = geteuid() == 0 ? 12345 : geteuid();
	char path[1200];
	struct stat st;

	mkdir(above, 0755);
	if (geteuid() == 0)
		CU_ASSERT_EQUAL(chown(above, owner, getegid()), 0);
	mode_t mask = umask(077);
	CU_ASSERT_EQUAL(add(path_of("umask/models"), source, "m", "1", NULL), STATUS_OK);
	umask(mask);
	for (size_t i = 0; i < sizeof(ALL) / sizeof(ALL[0]); i++) {
		snprintf(path, sizeof(path), "%s/models%s", above, ALL[i].path);
		CU_ASSERT_EQUAL_FATAL(stat(path, &st), 0);
		CU_ASSERT_EQUAL(st.st_mode & 07777, ALL[i].mode);
		CU_ASSERT_EQUAL(st.st_uid, owner);
	}
}

static void a_change_is_not_waited_for_without_end(void)
{
	const char *dir = path_of("held"), *source = source_of("held2", 2, true);
	struct err err = {0};
	char path[600];

	CU_ASSERT_EQUAL(add(dir, source, "m", "1", NULL), STATUS_OK);
	snprintf(path, sizeof(path), "%s/.lock", dir);
	int held = open(path, O_RDWR | O_CLOEXEC);
	CU_ASSERT_EQUAL(flock(held, LOCK_EX), 0);
	CU_ASSERT_EQUAL(add(dir, source, "m", "2", &err), STATUS_UNAVAILABLE);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/held for 10 seconds: try again later."));
	close(held);
	CU_ASSERT_EQUAL(add(dir, source, "m", "2", &err), STATUS_OK);
}

static const struct unit_case CASES[] = {
	{"adds, loads, removes", adds_and_loads},
	{"takes a file with its manifest", takes_a_file_with_its_manifest},
	{"refuses what is broken", refuses_what_is_broken},
	{"loads nothing from elsewhere", loads_nothing_from_elsewhere},
	{"leftovers are removed", leftovers_are_removed},
	{"a full disk leaves nothing", a_full_disk_leaves_nothing},
	{"a killed add leaves all or nothing", a_killed_add_leaves_all_or_nothing},
	{"adds at once: one wins", adds_at_once},
	{"the service can read it", the_service_can_read_it},
	{"a change is not waited for without end", a_change_is_not_waited_for_without_end},
};

int main(void)
{
	return sodium_init() < 0 ? 1 : UNIT_RUN("folder", CASES);
}
