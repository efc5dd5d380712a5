/* Table data_uploads, and the files of uploads. */
#include "store_helpers.h"

#include "store/uploads.h"
#include "task/upload.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static struct id id_number(int n)
{
	struct edge_identity edge = {.ms = 1700000000000};

	edge.random[5] = (uint8_t)n;
	return id_of_edge(&edge);
}

static struct upload_row row_of(int n, int64_t bytes)
{
	return (struct upload_row){.id = id_number(n),
				   .user_id = 7,
				   .name = STR("a.csv"),
				   .pipeline = STR(""),
				   .sha256 = STR(""),
				   .run_id = STR(""),
				   .bytes = bytes,
				   .created_us = 1,
				   .expires_us = 1000 + n};
}

static void change(struct db *db, const char *sql)
{
	test_begin(db);
	OK(db_script(db, sql, NULL));
	test_commit(db);
}

static void rows(void)
{
	struct db *db = test_database("uploads.db");
	struct upload_row row = row_of(1, 10), found;
	int64_t unfinished, bytes;
	struct arena arena;
	struct id ids[4];
	bool stored, is;
	int n;

	arena_init(&arena, 1 << 20);
	test_begin(db);
	OK(uploads_insert(db, &row, &stored, NULL));
	CU_ASSERT_TRUE(stored);
	OK(uploads_insert(db, &row, &stored, NULL));
	CU_ASSERT_FALSE(stored);
	struct upload_row second = row_of(2, 20);
	OK(uploads_insert(db, &second, &stored, NULL));
	row.received = 4;
	OK(uploads_advance(db, &row, 0, NULL));
	OK(uploads_advance(db, &row, 0, NULL)); /* run again after it was committed */
	row.received = 6;
	IS(uploads_advance(db, &row, 0, NULL), STATUS_CONFLICT);
	row.received = 10;
	row.run_id = STR("01900000-0000-7000-8000-000000000001");
	OK(uploads_advance(db, &row, 4, NULL));
	test_commit(db);

	OK(uploads_find(db, &row.id, 7, &arena, &found, NULL));
	CU_ASSERT_TRUE(upload_is_complete(&found) && str_eq(found.name, STR("a.csv")) &&
		       str_eq(found.run_id, row.run_id));
	IS(uploads_find(db, &row.id, 8, &arena, &found, NULL), STATUS_NOT_FOUND);
	OK(uploads_find(db, &row.id, -1, &arena, &found, NULL));
	OK(uploads_count(db, 7, &unfinished, &bytes, NULL));
	CU_ASSERT_TRUE(unfinished == 1 && bytes == 30);
	OK(uploads_count(db, 8, &unfinished, &bytes, NULL));
	CU_ASSERT_TRUE(unfinished == 0 && bytes == 0);

	/* What a run reads stays. */
	change(db, "INSERT INTO data_runs (number, id, pipeline_id, source, definition, state, created_us)"
		   " VALUES (1, '01900000-0000-7000-8000-000000000001', 1, 's', '{}', 'paused', 1)");
	OK(uploads_is_read(db, &row.id, &is, NULL));
	CU_ASSERT_TRUE(is);
	OK(uploads_find_expired(db, 2000, ids, 4, &n, NULL));
	CU_ASSERT_TRUE(n == 1 && memcmp(&ids[0], &second.id, sizeof(ids[0])) == 0);
	change(db, "UPDATE data_runs SET state = 'completed'");
	OK(uploads_is_read(db, &row.id, &is, NULL));
	CU_ASSERT_FALSE(is);
	OK(uploads_find_expired(db, 2000, ids, 4, &n, NULL));
	CU_ASSERT_EQUAL(n, 2);
	OK(uploads_find_expired(db, 2000, ids, 1, &n, NULL));
	CU_ASSERT_EQUAL(n, 1);
	OK(uploads_find_expired(db, 1000, ids, 4, &n, NULL));
	CU_ASSERT_EQUAL(n, 0);
	test_begin(db);
	OK(uploads_delete(db, &row.id, NULL));
	test_commit(db);
	OK(uploads_has(db, &row.id, &is, NULL));
	CU_ASSERT_FALSE(is);
	OK(uploads_has(db, &second.id, &is, NULL));
	CU_ASSERT_TRUE(is);
	arena_release(&arena);
	db_close(db);
}

static void names(void)
{
	static const char *const bad[] = {"", ".", "..", ".a", "a/b", "/", "a\\b", "a\nb", "\x7f", "\xff", "a\x1b[0m"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_PTR_NOT_NULL(upload_check_name(str_of(bad[i])));
	CU_ASSERT_PTR_NOT_NULL(upload_check_name((struct str){"a\0b", 3}));
	char name[202];
	memset(name, 'x', sizeof(name));
	CU_ASSERT_PTR_NULL(upload_check_name((struct str){name, 200}));
	CU_ASSERT_PTR_NOT_NULL(upload_check_name((struct str){name, 201}));
	CU_ASSERT_PTR_NULL(upload_check_name(STR("Umsätze 2026 (1).csv")));
}

static void files(void)
{
	struct config config = {.data_dir = test_path("files")};
	struct upload_row row = row_of(3, 5);
	char hash[UPLOAD_SHA256_BYTES], path[UPLOAD_PATH_BYTES], full[UPLOAD_PATH_BYTES + 500];
	struct upload_file file, other;
	struct err err;

	CU_ASSERT_EQUAL(mkdir(config.data_dir, 0700), 0);
	IS(upload_lock(&file, &config, &row.id, false, NULL), STATUS_NOT_FOUND);
	upload_close(&file);
	OK(upload_lock(&file, &config, &row.id, true, NULL));
	IS(upload_lock(&other, &config, &row.id, true, NULL), STATUS_BUSY);
	upload_close(&other);
	IS(upload_remove(&config, &row.id, NULL), STATUS_BUSY);
	OK(upload_open(&file, &row, NULL));
	OK(upload_write(&file, STR("helXX"), NULL));
	upload_close(&file);

	row.received = 3;
	OK(upload_lock(&file, &config, &row.id, false, NULL));
	OK(upload_open(&file, &row, NULL));
	OK(upload_write(&file, STR("lo"), NULL));
	OK(upload_sync(&file, NULL));
	OK(upload_hash(&file, hash, NULL));
	CU_ASSERT_STRING_EQUAL(hash, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
	OK(upload_name(&file, row.name, NULL));
	upload_close(&file);
	snprintf(full, sizeof(full), "%s/%.*s", config.data_dir, STR_ARG(upload_path(&row, path)));
	CU_ASSERT_EQUAL(access(full, R_OK), 0);

	/* Bytes that the row knows of are not there. */
	CU_ASSERT_EQUAL(truncate(full, 2), 0);
	OK(upload_lock(&file, &config, &row.id, false, NULL));
	IS(upload_open(&file, &row, NULL), STATUS_NOT_FOUND);
	upload_close(&file);
	OK(upload_remove(&config, &row.id, NULL));
	CU_ASSERT_NOT_EQUAL(access(full, F_OK), 0);
	OK(upload_remove(&config, &row.id, NULL));

	/* A full disk. */
	other = (struct upload_file){.dir = -1, .fd = open("/dev/full", O_WRONLY | O_CLOEXEC)};
	IS(upload_write(&other, STR("x"), &err), STATUS_TOO_LARGE);
	upload_close(&other);
}

static const struct unit_case CASES[] = {
	{"rows", rows},
	{"names", names},
	{"files", files},
};

int main(void)
{
	return UNIT_RUN("uploads", CASES);
}
