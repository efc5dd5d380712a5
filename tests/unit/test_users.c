/* Tables users and sessions. */
#include "store_helpers.h"

#include "store/sessions.h"
#include "store/users.h"

static struct user_row user_of(const char *name)
{
	struct user_row row = {.active = true};

	snprintf(row.username, sizeof(row.username), "%s", name);
	snprintf(row.username_key, sizeof(row.username_key), "%s", name);
	snprintf(row.email, sizeof(row.email), "%s@Example.com", name);
	snprintf(row.email_key, sizeof(row.email_key), "%s@example.com", name);
	snprintf(row.hash, sizeof(row.hash), "$hash-of-%s", name);
	return row;
}

static struct user_row found(struct db *db, int64_t id)
{
	struct user_row row = {0};

	OK(users_find(db, id, &row, NULL));
	return row;
}

static struct user_row inserted(struct db *db, const char *name)
{
	struct user_row row = user_of(name);

	OK(users_insert(db, &row, NULL));
	return row;
}

/* --- users --- */

static void inserts_and_finds(void)
{
	struct db *db = test_database("insert.db");
	struct user_row one = user_of("o'ne\xc3\xa4"), two = user_of("two"), read;

	test_begin(db);
	snprintf(two.created_at, sizeof(two.created_at), "2026-02-07T10:40:00.123456");
	two.superuser = true;
	two.failed_logins = 3;
	two.locked_until_us = 99;
	OK(users_insert(db, &one, NULL));
	OK(users_insert(db, &two, NULL));
	test_commit(db);
	CU_ASSERT_TRUE(one.id == 1 && two.id == 2);
	CU_ASSERT_EQUAL(strlen(one.created_at), 26);
	CU_ASSERT_STRING_EQUAL(one.created_at, one.updated_at);
	CU_ASSERT_STRING_EQUAL(two.updated_at, "2026-02-07T10:40:00.123456");
	read = found(db, 1);
	CU_ASSERT_EQUAL(memcmp(&read, &one, sizeof(read)), 0);
	OK(users_find_name(db, STR("two"), &read, NULL));
	CU_ASSERT_EQUAL(memcmp(&read, &two, sizeof(read)), 0);
	IS(users_find(db, 3, &read, NULL), STATUS_NOT_FOUND);
	IS(users_find_name(db, STR("Two"), &read, NULL), STATUS_NOT_FOUND);
	IS(users_find_name(db, STR(""), &read, NULL), STATUS_NOT_FOUND);
	db_close(db);
}

static void names_and_addresses_are_unique(void)
{
	struct db *db = test_database("unique.db");

	test_begin(db);
	inserted(db, "one");
	struct user_row name = user_of("one"), address = user_of("two");
	snprintf(name.email, sizeof(name.email), "other@example.com");
	snprintf(name.email_key, sizeof(name.email_key), "other@example.com");
	snprintf(address.email_key, sizeof(address.email_key), "one@example.com");
	struct err err = {0};
	IS(users_insert(db, &name, &err), STATUS_CONFLICT);
	CU_ASSERT_STRING_EQUAL(err.text, "Username or email already registered");
	IS(users_insert(db, &address, NULL), STATUS_CONFLICT);
	/* A refusal leaves the transaction whole, and takes no number. */
	CU_ASSERT_EQUAL(inserted(db, "three").id, 2);
	/* The same again is the same registration. */
	struct user_row again = user_of("one");
	OK(users_insert(db, &again, NULL));
	CU_ASSERT_EQUAL(again.id, 1);
	struct user_row other = user_of("one");
	snprintf(other.hash, sizeof(other.hash), "another");
	IS(users_insert(db, &other, NULL), STATUS_CONFLICT);
	test_commit(db);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM users"), 2);
	db_close(db);
}

static void updates(void)
{
	struct db *db = test_database("update.db");

	test_begin(db);
	struct user_row row = user_of("one"), taken;
	snprintf(row.created_at, sizeof(row.created_at), "2026-02-07T10:40:00.123456");
	OK(users_insert(db, &row, NULL));
	inserted(db, "two");
	/* Counting and locking is no change that is told. */
	row.failed_logins = 4;
	row.locked_until_us = 5;
	OK(users_update(db, &row, NULL));
	CU_ASSERT_STRING_EQUAL(row.updated_at, "2026-02-07T10:40:00.123456");
	CU_ASSERT_TRUE(found(db, 1).failed_logins == 4 && found(db, 1).locked_until_us == 5);
	memset(row.hash, 0, sizeof(row.hash));
	row.hash[0] = 'n';
	OK(users_update(db, &row, NULL));
	CU_ASSERT_TRUE(strcmp(row.updated_at, "2026-02-07T10:40:00.123456") > 0);
	CU_ASSERT_STRING_EQUAL(found(db, 1).updated_at, row.updated_at);
	CU_ASSERT_STRING_EQUAL(found(db, 1).hash, "n");
	CU_ASSERT_STRING_EQUAL(found(db, 1).created_at, "2026-02-07T10:40:00.123456");
	taken = row;
	memcpy(taken.email_key, "two@example.com", sizeof("two@example.com"));
	IS(users_update(db, &taken, NULL), STATUS_CONFLICT);
	taken = row;
	memcpy(taken.username_key, "two", sizeof("two"));
	IS(users_update(db, &taken, NULL), STATUS_CONFLICT);
	taken.id = 77;
	IS(users_update(db, &taken, NULL), STATUS_NOT_FOUND);
	struct user_row renamed = row;
	memcpy(renamed.username, "uno", sizeof("uno"));
	memcpy(renamed.username_key, "uno", sizeof("uno"));
	renamed.superuser = true;
	OK(users_update(db, &renamed, NULL));
	test_commit(db);
	struct user_row read = found(db, 1);
	CU_ASSERT_EQUAL(memcmp(&read, &renamed, sizeof(read)), 0);
	db_close(db);
}

static void failures_are_counted(void)
{
	struct db *db = test_database("failures.db");

	test_begin(db);
	struct user_row row = inserted(db, "one");
	for (int i = 1; i <= 10; i++) {
		OK(users_login_failed(db, row.id, 0, 1000, NULL));
		CU_ASSERT_EQUAL(found(db, 1).failed_logins, i);
	}
	CU_ASSERT_EQUAL(found(db, 1).locked_until_us, 0);
	OK(users_login_succeeded(db, row.id, str_of(row.hash), STR(""), NULL));
	CU_ASSERT_EQUAL(found(db, 1).failed_logins, 0);
	for (int i = 1; i <= 4; i++)
		OK(users_login_failed(db, row.id, 5, 1000 + i, NULL));
	CU_ASSERT_EQUAL(found(db, 1).locked_until_us, 0);
	OK(users_login_failed(db, row.id, 5, 1005, NULL));
	CU_ASSERT_EQUAL(found(db, 1).locked_until_us, 1005);
	CU_ASSERT_EQUAL(found(db, 1).failed_logins, 0);
	OK(users_login_failed(db, row.id, 5, 9999, NULL));
	CU_ASSERT_EQUAL(found(db, 1).locked_until_us, 1005);
	/* A fresh hash comes only into the place of the one that was checked. */
	OK(users_login_succeeded(db, row.id, STR("another"), STR("fresh"), NULL));
	CU_ASSERT_STRING_EQUAL(found(db, 1).hash, row.hash);
	CU_ASSERT_EQUAL(found(db, 1).locked_until_us, 0);
	OK(users_login_succeeded(db, row.id, str_of(row.hash), STR("fresh"), NULL));
	CU_ASSERT_STRING_EQUAL(found(db, 1).hash, "fresh");
	CU_ASSERT_STRING_EQUAL(found(db, 1).updated_at, row.updated_at);
	test_commit(db);
	db_close(db);
}

static bool add_ids(void *arg, const struct user_row *row)
{
	int64_t *sum = arg;

	*sum = *sum * 10 + row->id;
	return row->id < 3;
}

static void lists_oldest_first(void)
{
	struct db *db = test_database("list.db");
	int64_t order = 0;

	test_begin(db);
	inserted(db, "z");
	inserted(db, "a");
	inserted(db, "m");
	inserted(db, "b");
	test_commit(db);
	OK(users_each(db, add_ids, &order, NULL));
	CU_ASSERT_EQUAL(order, 123);
	db_close(db);
}

/* --- sessions --- */

static const uint8_t FIRST[SESSION_HASH_BYTES] = {1}, SECOND[SESSION_HASH_BYTES] = {2}, THIRD[SESSION_HASH_BYTES] = {3};

static struct session_row session_of(const char *id, int64_t user_id)
{
	struct session_row row = {.user_id = user_id, .created_us = 1000, .renewed_us = 1000, .expires_us = 9000};

	snprintf(row.id, sizeof(row.id), "%s", id);
	snprintf(row.client, sizeof(row.client), "2001:db8::1");
	memcpy(row.refresh_hash, FIRST, sizeof(row.refresh_hash));
	return row;
}

static void a_session_is_seen(void)
{
	struct db *db = test_database("seen.db");
	struct user_session seen;

	test_begin(db);
	struct user_row row = inserted(db, "one");
	struct session_row session = session_of("s1", 1);
	OK(sessions_insert(db, &session, NULL));
	OK(users_find_session(db, 1, STR("s1"), 2000, &seen, NULL));
	CU_ASSERT_TRUE(seen.known && seen.active && !seen.superuser);
	CU_ASSERT_STRING_EQUAL(seen.username, "one");
	OK(users_find_session(db, 1, STR("s1"), 9000, &seen, NULL)); /* expired */
	CU_ASSERT_FALSE(seen.known);
	OK(users_find_session(db, 2, STR("s1"), 2000, &seen, NULL)); /* another's */
	CU_ASSERT_FALSE(seen.known);
	OK(users_find_session(db, 1, STR("s2"), 2000, &seen, NULL));
	CU_ASSERT_FALSE(seen.known);
	OK(sessions_end(db, 2, STR("s1"), 3000, NULL)); /* not one's own */
	OK(users_find_session(db, 1, STR("s1"), 4000, &seen, NULL));
	CU_ASSERT_TRUE(seen.known);
	OK(sessions_end(db, 1, STR("s1"), 3000, NULL));
	OK(users_find_session(db, 1, STR("s1"), 3001, &seen, NULL));
	CU_ASSERT_FALSE(seen.known);
	CU_ASSERT_EQUAL(test_number(db, "SELECT ended_us FROM sessions"), 3000);
	OK(sessions_end(db, 1, STR("s1"), 5000, NULL));
	CU_ASSERT_EQUAL(test_number(db, "SELECT ended_us FROM sessions"), 3000);
	/* That a user is not active is told even when that ended the session. */
	row.active = false;
	OK(users_update(db, &row, NULL));
	OK(users_find_session(db, 1, STR("s1"), 3001, &seen, NULL));
	CU_ASSERT_TRUE(seen.known && !seen.active);
	test_commit(db);
	db_close(db);
}

static void a_refresh_token_works_once(void)
{
	struct db *db = test_database("renew.db");
	struct session_row session = session_of("s1", 1), row;

	test_begin(db);
	OK(sessions_insert(db, &session, NULL));
	IS(sessions_renew(db, STR("s1"), SECOND, THIRD, 2000, 20000, &row, NULL), STATUS_UNAUTHENTICATED);
	IS(sessions_renew(db, STR("s2"), FIRST, THIRD, 2000, 20000, &row, NULL), STATUS_UNAUTHENTICATED);
	OK(sessions_renew(db, STR("s1"), FIRST, SECOND, 2000, 20000, &row, NULL));
	CU_ASSERT_TRUE(row.user_id == 1 && row.created_us == 1000 && row.renewed_us == 2000 && row.expires_us == 20000);
	CU_ASSERT_EQUAL(memcmp(row.refresh_hash, SECOND, sizeof(SECOND)), 0);
	CU_ASSERT_STRING_EQUAL(row.client, "2001:db8::1");
	/* The same renewal run again, as after a commit that was not answered. */
	OK(sessions_renew(db, STR("s1"), FIRST, SECOND, 2000, 20000, &row, NULL));
	OK(sessions_renew(db, STR("s1"), SECOND, THIRD, 3000, 30000, &row, NULL));
	/* One from before the last is nobody's. */
	IS(sessions_renew(db, STR("s1"), FIRST, SECOND, 4000, 40000, &row, NULL), STATUS_UNAUTHENTICATED);
	/* The last one, stolen or not, ends it. */
	IS(sessions_renew(db, STR("s1"), SECOND, FIRST, 4000, 40000, &row, NULL), STATUS_FORBIDDEN);
	IS(sessions_renew(db, STR("s1"), THIRD, FIRST, 4001, 40000, &row, NULL), STATUS_UNAUTHENTICATED);
	CU_ASSERT_EQUAL(test_number(db, "SELECT ended_us FROM sessions"), 4000);
	test_commit(db);
	db_close(db);
}

static void nothing_renews_what_is_over(void)
{
	static const uint8_t zeros[SESSION_HASH_BYTES];
	struct db *db = test_database("over.db");
	struct session_row expired = session_of("s1", 1), ended = session_of("s2", 1), row;

	test_begin(db);
	OK(sessions_insert(db, &expired, NULL));
	OK(sessions_insert(db, &ended, NULL));
	OK(sessions_end(db, 1, STR("s2"), 2000, NULL));
	IS(sessions_renew(db, STR("s1"), FIRST, SECOND, 9000, 20000, &row, NULL), STATUS_UNAUTHENTICATED);
	IS(sessions_renew(db, STR("s2"), FIRST, SECOND, 1500, 20000, &row, NULL), STATUS_UNAUTHENTICATED);
	/* A session that was never renewed has no former token: not even that of zeros. */
	IS(sessions_renew(db, STR("s1"), zeros, SECOND, 2000, 20000, &row, NULL), STATUS_UNAUTHENTICATED);
	OK(sessions_renew(db, STR("s1"), FIRST, SECOND, 2000, 20000, &row, NULL));
	test_commit(db);
	db_close(db);
}

static void the_others_end(void)
{
	struct db *db = test_database("others.db");
	static const char *const ids[] = {"s1", "s2", "s3"};

	test_begin(db);
	for (int i = 0; i < 3; i++) {
		struct session_row row = session_of(ids[i], 1);
		OK(sessions_insert(db, &row, NULL));
	}
	struct session_row other = session_of("s4", 2);
	OK(sessions_insert(db, &other, NULL));
	OK(sessions_end_all(db, 1, STR("s2"), 2000, NULL));
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sessions WHERE ended_us = 0"), 2);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sessions WHERE ended_us = 0 AND id = 's2'"), 1);
	OK(sessions_end_all(db, 1, (struct str){0}, 3000, NULL));
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sessions WHERE ended_us = 0"), 1);
	/* The same login again, as when nginx asks another worker. */
	memcpy(other.refresh_hash, SECOND, sizeof(other.refresh_hash));
	OK(sessions_insert(db, &other, NULL));
	OK(sessions_renew(db, STR("s4"), SECOND, THIRD, 2000, 20000, &other, NULL));
	OK(sessions_end_everybody(db, 3500, NULL));
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sessions WHERE ended_us = 0"), 0);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sessions WHERE expires_us > 3500"), 0);
	CU_ASSERT_EQUAL(test_number(db, "SELECT ended_us FROM sessions WHERE id = 's2'"), 3000);
	test_commit(db);
	db_close(db);
}

static void the_oldest_make_room(void)
{
	struct db *db = test_database("trim.db");
	char id[8];

	test_begin(db);
	for (int i = 0; i < 8; i++) {
		snprintf(id, sizeof(id), "s%d", i);
		struct session_row row = session_of(id, i == 0 ? 2 : 1);
		OK(sessions_insert(db, &row, NULL));
	}
	OK(sessions_trim(db, 1, 7, NULL));
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sessions"), 8);
	OK(sessions_trim(db, 1, 3, NULL));
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sessions WHERE user_id = 1"), 3);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sessions WHERE id IN ('s5', 's6', 's7', 's0')"), 4);
	test_commit(db);
	db_close(db);
}

static void what_is_over_is_deleted(void)
{
	struct db *db = test_database("expire.db");
	int64_t deleted = 0;
	char id[16];

	test_begin(db);
	for (int i = 0; i < 6; i++) {
		snprintf(id, sizeof(id), "s%d", i);
		struct session_row row = session_of(id, 1);
		row.expires_us = 10000 + i;
		OK(sessions_insert(db, &row, NULL));
	}
	OK(sessions_end(db, 1, STR("s5"), 5000, NULL));
	OK(sessions_expire(db, 5000, 100, &deleted, NULL));
	CU_ASSERT_EQUAL(deleted, 0);
	OK(sessions_expire(db, 5001, 100, &deleted, NULL));
	CU_ASSERT_EQUAL(deleted, 1);
	OK(sessions_expire(db, 10003, 2, &deleted, NULL));
	CU_ASSERT_EQUAL(deleted, 2);
	OK(sessions_expire(db, 10003, 2, &deleted, NULL));
	CU_ASSERT_EQUAL(deleted, 1);
	test_commit(db);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sessions"), 2);
	db_close(db);
}

static const struct unit_case CASES[] = {
	{"inserts and finds", inserts_and_finds},
	{"names and addresses are unique", names_and_addresses_are_unique},
	{"updates", updates},
	{"failures are counted", failures_are_counted},
	{"lists oldest first", lists_oldest_first},
	{"a session is seen", a_session_is_seen},
	{"a refresh token works once", a_refresh_token_works_once},
	{"nothing renews what is over", nothing_renews_what_is_over},
	{"the others end", the_others_end},
	{"the oldest make room", the_oldest_make_room},
	{"what is over is deleted", what_is_over_is_deleted},
};

int main(void)
{
	return UNIT_RUN("users", CASES);
}
