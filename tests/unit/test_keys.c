/* Table api_keys. */
#include "store_helpers.h"

#include "store/generations.h"
#include "store/keys.h"
#include "store/users.h"

static struct key_row row_of(const char *id, const char *name)
{
	struct key_row row = {.rate_per_minute = 60, .created_us = 1000};

	snprintf(row.id, sizeof(row.id), "%s", id);
	snprintf(row.name, sizeof(row.name), "%s", name);
	memset(row.hash, id[0], sizeof(row.hash));
	return row;
}

struct rows {
	int n;
	struct key_row at[10];
};

static bool keep(void *arg, const struct key_row *row)
{
	struct rows *rows = arg;

	rows->at[rows->n++] = *row;
	return rows->n < 10;
}

static struct rows all(struct db *db)
{
	struct rows rows = {0};

	OK(keys_each(db, keep, &rows, NULL));
	return rows;
}

static int64_t generation(struct db *db)
{
	int64_t n = -1;

	OK(generations_read(db, KEYS_TOPIC, &n, NULL));
	return n;
}

static void inserts(void)
{
	struct db *db = test_database("insert.db");
	struct key_row b = row_of("b000000000000000", "b\xc3\xa4'; --"), a = row_of("a000000000000000", "a");

	a.created_us = 2000;
	a.expires_us = 9000;
	test_begin(db);
	OK(keys_insert(db, &a, NULL));
	OK(keys_insert(db, &b, NULL));
	test_commit(db);
	struct rows rows = all(db);
	CU_ASSERT_EQUAL_FATAL(rows.n, 2);
	CU_ASSERT_EQUAL(memcmp(&rows.at[0], &b, sizeof(b)), 0);
	CU_ASSERT_EQUAL(memcmp(&rows.at[1], &a, sizeof(a)), 0);
	CU_ASSERT_EQUAL(generation(db), 2);
	db_close(db);
}

static void refuses_names(void)
{
	char longest[KEY_NAME_BYTES];
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	const struct {
		const char *id, *name;
		enum status status;
	} cases[] = {
		{"1", "taken", STATUS_OK}, {"2", "taken", STATUS_CONFLICT}, {"1", "other", STATUS_CONFLICT},
		{"2", "", STATUS_INVALID}, {"2", "\xff", STATUS_INVALID},   {"2", "Taken", STATUS_OK},
		{"3", longest, STATUS_OK}, {"4", longest, STATUS_CONFLICT}, {"4", "1", STATUS_OK},
	};
	struct db *db = test_database("names.db");

	test_begin(db);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct key_row row = row_of(cases[i].id, cases[i].name);
		struct err err = {0};
		IS(keys_insert(db, &row, &err), cases[i].status);
		CU_ASSERT_EQUAL(err.text[0] != '\0', cases[i].status != STATUS_OK);
	}
	struct key_row unended = row_of("9", "x");
	memset(unended.name, 'x', sizeof(unended.name));
	IS(keys_insert(db, &unended, NULL), STATUS_INVALID);
	test_commit(db);
	CU_ASSERT_EQUAL(generation(db), 4);
	db_close(db);
}

static void revokes(void)
{
	struct db *db = test_database("revoke.db");
	struct key_row one = row_of("1111111111111111", "one"), two = row_of("2222222222222222", "1111111111111111");

	test_begin(db);
	OK(keys_insert(db, &one, NULL));
	OK(keys_insert(db, &two, NULL));
	IS(keys_revoke(db, STR("three"), 5000, NULL), STATUS_NOT_FOUND);
	IS(keys_revoke(db, STR(""), 5000, NULL), STATUS_NOT_FOUND);
	CU_ASSERT_EQUAL(generation(db), 2);
	/* The id counts before the name that looks like it. */
	OK(keys_revoke(db, STR("1111111111111111"), 5000, NULL));
	CU_ASSERT_EQUAL(generation(db), 3);
	CU_ASSERT_EQUAL(test_number(db, "SELECT revoked_us FROM api_keys WHERE name = 'one'"), 5000);
	IS(keys_revoke(db, STR("one"), 6000, NULL), STATUS_NOT_FOUND);
	OK(keys_revoke(db, STR("1111111111111111"), 7000, NULL));
	CU_ASSERT_EQUAL(test_number(db, "SELECT revoked_us FROM api_keys WHERE name = 'one'"), 5000);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM api_keys WHERE revoked_us = 0"), 0);
	/* A revoked key's name is free again. */
	struct key_row again = row_of("3333333333333333", "one");
	OK(keys_insert(db, &again, NULL));
	test_commit(db);
	db_close(db);
}

static void rotates(void)
{
	static const struct {
		const char *what;
		int64_t expires_us, overlap_us, until;
	} cases[] = {{"never expires", 0, 5000, 5000},
		     {"expires later", 9000, 5000, 5000},
		     {"sooner", 4000, 5000, 4000},
		     {"no overlap", 0, 0, 1}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char name[20];
		snprintf(name, sizeof(name), "rotate%zu.db", i);
		struct db *db = test_database(name);
		struct key_row old = row_of("1111111111111111", "svc"), new = row_of("2222222222222222", "ignored");
		old.expires_us = cases[i].expires_us;
		new.created_us = 3000;
		new.rate_per_minute = 1;
		test_begin(db);
		OK(keys_insert(db, &old, NULL));
		OK(keys_rotate(db, i % 2 ? STR("svc") : STR("1111111111111111"), &new, cases[i].overlap_us, NULL));
		test_commit(db);
		struct rows rows = all(db);
		CU_ASSERT_EQUAL_FATAL(rows.n, 2);
		CU_ASSERT_STRING_EQUAL(rows.at[0].name, "svc (until rotation, 1111111111111111)");
		CU_ASSERT_EQUAL(rows.at[0].expires_us, cases[i].until);
		CU_ASSERT_EQUAL(rows.at[0].hash[0], '1');
		CU_ASSERT_STRING_EQUAL(rows.at[1].name, "svc");
		CU_ASSERT_EQUAL(rows.at[1].rate_per_minute, 60);
		CU_ASSERT_EQUAL(rows.at[1].expires_us, cases[i].expires_us);
		CU_ASSERT_EQUAL(memcmp(&rows.at[1], &new, sizeof(new)), 0);
		CU_ASSERT_TRUE(generation(db) > 1);
		db_close(db);
	}
}

static void does_not_rotate(void)
{
	struct db *db = test_database("norotate.db");
	struct key_row expired = row_of("1", "expired"), revoked = row_of("2", "revoked"), fresh = row_of("3", "");

	expired.expires_us = 2000;
	revoked.revoked_us = 1500;
	fresh.created_us = 2000;
	test_begin(db);
	OK(keys_insert(db, &expired, NULL));
	OK(keys_insert(db, &revoked, NULL));
	IS(keys_rotate(db, STR("expired"), &fresh, 9000, NULL), STATUS_NOT_FOUND);
	IS(keys_rotate(db, STR("revoked"), &fresh, 9000, NULL), STATUS_NOT_FOUND);
	IS(keys_rotate(db, STR("nobody"), &fresh, 9000, NULL), STATUS_NOT_FOUND);
	test_commit(db);
	CU_ASSERT_EQUAL(all(db).n, 2);
	db_close(db);
}

/* A name of 100 bytes is cut between characters. */
static void a_long_name_rotates(void)
{
	struct db *db = test_database("long.db");
	struct key_row old = row_of("1111111111111111", ""), new = row_of("2222222222222222", "");

	for (int i = 0; i < 100; i += 2)
		memcpy(old.name + i, "\xc3\xa4", 3);
	test_begin(db);
	OK(keys_insert(db, &old, NULL));
	OK(keys_rotate(db, STR("1111111111111111"), &new, 9000, NULL));
	test_commit(db);
	struct rows rows = all(db);
	CU_ASSERT_EQUAL_FATAL(rows.n, 2);
	CU_ASSERT_TRUE(str_is_utf8(str_of(rows.at[0].name)) && str_is_utf8(str_of(rows.at[1].name)));
	CU_ASSERT_TRUE(strlen(rows.at[0].name) >= 98 && strstr(rows.at[0].name, " (until rotation, 1111111111111111)"));
	CU_ASSERT_STRING_EQUAL(rows.at[1].name, old.name);
	db_close(db);
}

/* --- of users --- */

static int64_t add_user(struct db *db, const char *name)
{
	struct user_row row = {.active = true};

	snprintf(row.username, sizeof(row.username), "%s", name);
	snprintf(row.username_key, sizeof(row.username_key), "%s", name);
	snprintf(row.email_key, sizeof(row.email_key), "%s", name);
	snprintf(row.hash, sizeof(row.hash), "%s", name);
	OK(users_insert(db, &row, NULL));
	return row.id;
}

static void each_has_keys_of_their_own(void)
{
	struct db *db = test_database("owners.db");
	struct key_row ours = row_of("1", "laptop"), one = row_of("2", "laptop"), two = row_of("3", "laptop"),
		       again = row_of("4", "laptop");
	struct rows rows = {0};

	test_begin(db);
	one.user_id = add_user(db, "one");
	two.user_id = add_user(db, "two");
	again.user_id = one.user_id;
	OK(keys_insert(db, &ours, NULL));
	OK(keys_insert(db, &one, NULL));
	OK(keys_insert(db, &two, NULL));
	IS(keys_insert(db, &again, NULL), STATUS_CONFLICT);
	/* The same key again is what a repeated request brings. */
	int64_t before = generation(db);
	OK(keys_insert(db, &one, NULL));
	CU_ASSERT_EQUAL(generation(db), before);
	OK(keys_each_valid(db, one.user_id, keep, &rows, NULL));
	CU_ASSERT_EQUAL_FATAL(rows.n, 1);
	CU_ASSERT_EQUAL(memcmp(&rows.at[0], &one, sizeof(one)), 0);
	CU_ASSERT_EQUAL(all(db).n, 3);
	/* Nobody revokes another's, nor the operator's own by a name that a user took. */
	IS(keys_revoke_of(db, two.user_id, STR("2"), 5000, NULL), STATUS_NOT_FOUND);
	IS(keys_revoke_of(db, two.user_id, STR("laptop"), 5000, NULL), STATUS_NOT_FOUND);
	IS(keys_revoke_of(db, two.user_id, STR("1"), 5000, NULL), STATUS_NOT_FOUND);
	OK(keys_revoke(db, STR("laptop"), 5000, NULL));
	IS(keys_revoke(db, STR("laptop"), 5000, NULL), STATUS_NOT_FOUND);
	CU_ASSERT_EQUAL(test_number(db, "SELECT revoked_us FROM api_keys WHERE id = '1'"), 5000);
	OK(keys_revoke_of(db, one.user_id, STR("2"), 6000, NULL));
	IS(keys_revoke_of(db, one.user_id, STR("2"), 7000, NULL), STATUS_NOT_FOUND);
	OK(keys_insert(db, &again, NULL));
	/* The operator revokes anybody's by its id, and all of one user's at once. */
	OK(keys_revoke(db, STR("3"), 8000, NULL));
	before = generation(db);
	OK(keys_revoke_all(db, one.user_id, 9000, NULL));
	OK(keys_revoke_all(db, one.user_id, 9001, NULL));
	CU_ASSERT_EQUAL(generation(db), before);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM api_keys WHERE revoked_us = 0"), 0);
	CU_ASSERT_EQUAL(test_number(db, "SELECT revoked_us FROM api_keys WHERE id = '2'"), 6000);
	test_commit(db);
	db_close(db);
}

static void keys_go_with_their_user(void)
{
	struct db *db = test_database("suspended.db");
	struct key_row ours = row_of("1", "a"), one = row_of("2", "b"), orphan = row_of("3", "c"),
		       fresh = row_of("4", "");
	struct user_row user;

	test_begin(db);
	one.user_id = add_user(db, "one");
	orphan.user_id = 77;
	OK(keys_insert(db, &ours, NULL));
	OK(keys_insert(db, &one, NULL));
	OK(keys_insert(db, &orphan, NULL));
	struct rows rows = all(db);
	CU_ASSERT_TRUE(!rows.at[0].suspended && !rows.at[1].suspended && rows.at[2].suspended);
	OK(users_find(db, one.user_id, &user, NULL));
	user.active = false;
	OK(users_update(db, &user, NULL));
	rows = all(db);
	CU_ASSERT_TRUE(!rows.at[0].suspended && rows.at[1].suspended);
	user.active = true;
	OK(users_update(db, &user, NULL));
	CU_ASSERT_FALSE(all(db).at[1].suspended);
	OK(keys_rotate(db, STR("2"), &fresh, 9000, NULL));
	CU_ASSERT_EQUAL(fresh.user_id, one.user_id);
	test_commit(db);
	db_close(db);
}

static const struct unit_case CASES[] = {
	{"inserts, lists oldest first", inserts},
	{"refuses names that are taken or none", refuses_names},
	{"revokes by id, then by name", revokes},
	{"rotates", rotates},
	{"does not rotate what is not valid", does_not_rotate},
	{"a long name rotates", a_long_name_rotates},
	{"each has keys of their own", each_has_keys_of_their_own},
	{"keys go with their user", keys_go_with_their_user},
};

int main(void)
{
	return UNIT_RUN("keys", CASES);
}
