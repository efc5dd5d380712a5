/* API keys: which are let in, and when a change is seen. */
#include "store_helpers.h"

#include "auth/keyring.h"
#include "store/generations.h"
#include "store/users.h"

static const int64_t NOW = INT64_C(1700000000000000);

struct made {
	struct key_row row;
	char text[KEY_TEXT_BYTES];
};

static struct made make(const char *name)
{
	struct made made = {.row = {.rate_per_minute = -1, .created_us = NOW - 1000}};

	keyring_generate(made.text, &made.row);
	snprintf(made.row.name, sizeof(made.row.name), "%s", name);
	return made;
}

static void insert(struct db *db, const struct made *made)
{
	test_begin(db);
	OK(keys_insert(db, &made->row, NULL));
	test_commit(db);
}

static enum status check(const struct keyring *ring, const char *key, int64_t now_us)
{
	struct caller caller;
	enum status status = keyring_check(ring, str_of(key), now_us, &caller);

	/* Whoever is not let in is nobody. */
	if (status != STATUS_OK)
		CU_ASSERT_TRUE(caller.key_id[0] == '\0' && caller.name[0] == '\0' && caller.rate_per_minute == -1);
	return status;
}

static void the_key_of_the_environment(void)
{
	struct keyring ring;
	struct caller caller;

	keyring_init(&ring, STR("any text, as long as it is one"));
	OK(keyring_check(&ring, STR("any text, as long as it is one"), NOW, &caller));
	CU_ASSERT_STRING_EQUAL(caller.key_id, "env");
	CU_ASSERT_STRING_EQUAL(caller.name, "default-user");
	CU_ASSERT_EQUAL(caller.rate_per_minute, -1);
	IS(check(&ring, "", NOW), STATUS_UNAUTHENTICATED);
	IS(keyring_check(&ring, (struct str){0}, NOW, &caller), STATUS_UNAUTHENTICATED);
	static const char *const wrong[] = {
		"any text, as long as it is on",   "any text, as long as it is one ", "x", "env",
		" any text, as long as it is one", "Any text, as long as it is one"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		IS(check(&ring, wrong[i], NOW), STATUS_FORBIDDEN);
	keyring_release(&ring);
}

/* Without a key in the environment no text is that key, also not the one whose hash would be all zeros. */
static void no_key_in_the_environment(void)
{
	struct keyring ring;

	keyring_init(&ring, STR(""));
	IS(check(&ring, "", NOW), STATUS_UNAUTHENTICATED);
	IS(check(&ring, "x", NOW), STATUS_FORBIDDEN);
	IS(check(&ring, "ak_0000000000000000_0000000000000000000000000000000000000000000", NOW), STATUS_UNAVAILABLE);
	keyring_release(&ring);
}

static void generated_keys_have_their_form(void)
{
	static char seen[200][KEY_TEXT_BYTES];
	struct key_row row = {0};

	for (int i = 0; i < 200; i++) {
		keyring_generate(seen[i], &row);
		CU_ASSERT_EQUAL(strlen(seen[i]), KEY_TEXT_BYTES - 1);
		CU_ASSERT_EQUAL(strncmp(seen[i], "ak_", 3), 0);
		CU_ASSERT_EQUAL(strncmp(seen[i] + 3, row.id, 16), 0);
		CU_ASSERT_EQUAL(strspn(row.id, "0123456789abcdef"), 16);
		CU_ASSERT_EQUAL(seen[i][19], '_');
		CU_ASSERT_EQUAL(
			strspn(seen[i] + 20, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), 43);
		CU_ASSERT_TRUE(str_is_token(str_of(seen[i])));
		/* The row tells nothing of the secret. */
		CU_ASSERT_PTR_NULL(memmem(&row, sizeof(row), seen[i] + 20, 8));
		for (int k = 0; k < i; k++)
			CU_ASSERT_TRUE(strncmp(seen[k] + 3, seen[i] + 3, 16) != 0 &&
				       strcmp(seen[k] + 20, seen[i] + 20) != 0);
	}
}

static void the_key_before_is_as_good(void)
{
	struct keyring ring;
	struct caller caller;

	keyring_init(&ring, STR("the-new-one"));
	keyring_add_previous(&ring, STR(""));
	IS(check(&ring, "the-old-one", NOW), STATUS_FORBIDDEN);
	keyring_add_previous(&ring, STR("the-old-one"));
	OK(keyring_check(&ring, STR("the-new-one"), NOW, &caller));
	OK(keyring_check(&ring, STR("the-old-one"), NOW, &caller));
	CU_ASSERT_STRING_EQUAL(caller.name, "default-user");
	IS(check(&ring, "the-old-one ", NOW), STATUS_FORBIDDEN);
	keyring_release(&ring);
}

static void keys_of_the_database(void)
{
	struct db *db = test_database("keys.db");
	struct made made[20];
	struct keyring ring;
	struct caller caller;

	keyring_init(&ring, STR("the-environment"));
	for (int i = 0; i < 20; i++) {
		char name[20];
		snprintf(name, sizeof(name), "key %d", i);
		made[i] = make(name);
		made[i].row.rate_per_minute = i - 1;
		insert(db, &made[i]);
	}
	IS(check(&ring, made[0].text, NOW), STATUS_UNAVAILABLE); /* not read yet */
	OK(keyring_refresh(&ring, db, NULL));
	for (int i = 0; i < 20; i++) {
		OK(keyring_check(&ring, str_of(made[i].text), NOW, &caller));
		CU_ASSERT_STRING_EQUAL(caller.key_id, made[i].row.id);
		CU_ASSERT_STRING_EQUAL(caller.name, made[i].row.name);
		CU_ASSERT_EQUAL(caller.rate_per_minute, i - 1);
		/* One character of the secret, or of the id, or of the frame. */
		for (size_t at = 0; at < KEY_TEXT_BYTES - 1; at += 7) {
			char wrong[KEY_TEXT_BYTES];
			memcpy(wrong, made[i].text, sizeof(wrong));
			wrong[at] = wrong[at] == '0' ? '1' : '0';
			IS(check(&ring, wrong, NOW), STATUS_FORBIDDEN);
		}
		/* The id of one with the secret of another. */
		char mixed[KEY_TEXT_BYTES];
		memcpy(mixed, made[i].text, sizeof(mixed));
		memcpy(mixed + 20, made[(i + 1) % 20].text + 20, 43);
		IS(check(&ring, mixed, NOW), STATUS_FORBIDDEN);
		/* The hash, the id or a part is not the key. */
		IS(check(&ring, made[i].row.id, NOW), STATUS_FORBIDDEN);
		IS(keyring_check(&ring, (struct str){made[i].text, 62}, NOW, &caller), STATUS_FORBIDDEN);
	}
	OK(check(&ring, "the-environment", NOW));
	keyring_release(&ring);
	db_close(db);
}

static void hostile_keys(void)
{
	struct db *db = test_database("hostile.db");
	struct made made = make("one");
	struct keyring ring;
	struct caller caller;
	char text[KEY_TEXT_BYTES];
	static char huge[100000];

	insert(db, &made);
	keyring_init(&ring, STR("env"));
	OK(keyring_refresh(&ring, db, NULL));
	memset(huge, 'a', sizeof(huge));
	IS(keyring_check(&ring, (struct str){huge, sizeof(huge)}, NOW, &caller), STATUS_FORBIDDEN);
	/* A NUL ends nothing. */
	memcpy(text, made.text, sizeof(text));
	text[10] = '\0';
	IS(keyring_check(&ring, (struct str){text, KEY_TEXT_BYTES - 1}, NOW, &caller), STATUS_FORBIDDEN);
	IS(keyring_check(&ring, (struct str){made.text, KEY_TEXT_BYTES}, NOW, &caller), STATUS_FORBIDDEN);
	IS(keyring_check(&ring, (struct str){"env\0", 4}, NOW, &caller), STATUS_FORBIDDEN);
	IS(keyring_check(&ring, (struct str){"\0", 1}, NOW, &caller), STATUS_FORBIDDEN);
	OK(keyring_check(&ring, (struct str){made.text, KEY_TEXT_BYTES - 1}, NOW, &caller));
	keyring_release(&ring);
	db_close(db);
}

static void expiry_and_revocation_have_their_time(void)
{
	struct db *db = test_database("times.db");
	struct made expires = make("expires"), revoked = make("revoked"), plain = make("plain");
	struct keyring ring;

	expires.row.expires_us = NOW;
	revoked.row.revoked_us = NOW;
	insert(db, &expires);
	insert(db, &revoked);
	insert(db, &plain);
	keyring_init(&ring, STR(""));
	OK(keyring_refresh(&ring, db, NULL));
	OK(check(&ring, expires.text, NOW - 1));
	IS(check(&ring, expires.text, NOW), STATUS_FORBIDDEN);
	IS(check(&ring, expires.text, NOW + 1), STATUS_FORBIDDEN);
	IS(check(&ring, revoked.text, NOW - 1), STATUS_FORBIDDEN); /* on a machine whose clock is behind */
	IS(check(&ring, revoked.text, NOW), STATUS_FORBIDDEN);
	OK(check(&ring, plain.text, INT64_MAX));
	keyring_release(&ring);
	db_close(db);
}

static void changes_are_seen_at_the_next_look(void)
{
	struct db *db = test_database("changes.db");
	struct made one = make("one"), two = make("two");
	struct keyring ring;

	keyring_init(&ring, STR(""));
	OK(keyring_refresh(&ring, db, NULL));
	CU_ASSERT_EQUAL(ring.n, 0);
	insert(db, &one);
	OK(keyring_refresh(&ring, db, NULL));
	OK(check(&ring, one.text, NOW));
	/* Nothing changed: nothing is read. */
	const struct key_row *rows = ring.rows;
	OK(keyring_refresh(&ring, db, NULL));
	CU_ASSERT_PTR_EQUAL(ring.rows, rows);
	insert(db, &two);
	test_begin(db);
	OK(keys_revoke(db, STR("one"), NOW, NULL));
	test_commit(db);
	OK(check(&ring, one.text, NOW));
	IS(check(&ring, two.text, NOW), STATUS_FORBIDDEN);
	OK(keyring_refresh(&ring, db, NULL));
	IS(check(&ring, one.text, NOW), STATUS_FORBIDDEN);
	OK(check(&ring, two.text, NOW));
	/* A restore may set the generation back: any other value counts. */
	test_begin(db);
	OK(db_script(db, "UPDATE generations SET value = 1; DELETE FROM api_keys", NULL));
	test_commit(db);
	OK(keyring_refresh(&ring, db, NULL));
	IS(check(&ring, two.text, NOW), STATUS_FORBIDDEN);
	keyring_release(&ring);
	db_close(db);
}

static void both_keys_are_good_while_they_overlap(void)
{
	struct db *db = test_database("rotate.db");
	struct made old = make("svc"), fresh = make("");
	struct keyring ring;
	struct caller caller;

	insert(db, &old);
	keyring_init(&ring, STR(""));
	test_begin(db);
	OK(keys_rotate(db, STR("svc"), &fresh.row, NOW + 1000, NULL));
	test_commit(db);
	OK(keyring_refresh(&ring, db, NULL));
	OK(check(&ring, old.text, NOW));
	OK(keyring_check(&ring, str_of(fresh.text), NOW, &caller));
	CU_ASSERT_STRING_EQUAL(caller.name, "svc");
	OK(check(&ring, old.text, NOW + 999));
	IS(check(&ring, old.text, NOW + 1000), STATUS_FORBIDDEN);
	OK(check(&ring, fresh.text, NOW + 1000));
	keyring_release(&ring);
	db_close(db);
}

static void known_keys_outlive_a_failure(void)
{
	struct db *db = test_database("failure.db");
	struct made one = make("one");
	struct keyring ring;
	struct err err = {0};

	insert(db, &one);
	keyring_init(&ring, STR(""));
	OK(keyring_refresh(&ring, db, NULL));
	test_begin(db);
	OK(generations_bump(db, KEYS_TOPIC, NULL));
	OK(db_script(db, "ALTER TABLE api_keys RENAME TO aside", NULL));
	test_commit(db);
	CU_ASSERT_NOT_EQUAL(keyring_refresh(&ring, db, &err), STATUS_OK);
	CU_ASSERT_TRUE(err.text[0] != '\0');
	OK(check(&ring, one.text, NOW));
	test_begin(db);
	OK(db_script(db, "ALTER TABLE aside RENAME TO api_keys; DELETE FROM api_keys", NULL));
	test_commit(db);
	OK(keyring_refresh(&ring, db, &err));
	IS(check(&ring, one.text, NOW), STATUS_FORBIDDEN);
	keyring_release(&ring);
	db_close(db);
}

/* What a key may is read with it, and stays with its name when it is rotated. */
static void scopes_belong_to_a_key(void)
{
	struct db *db = test_database("scopes.db");
	struct made plain = make("plain"), able = make("able"), fresh = make("");
	struct keyring ring;
	struct caller caller;

	snprintf(able.row.scopes, sizeof(able.row.scopes), "models");
	insert(db, &plain);
	insert(db, &able);
	keyring_init(&ring, STR("the-environment"));
	test_begin(db);
	OK(keys_rotate(db, STR("able"), &fresh.row, NOW + 1000, NULL));
	test_commit(db);
	OK(keyring_refresh(&ring, db, NULL));
	OK(keyring_check(&ring, str_of(able.text), NOW, &caller));
	CU_ASSERT_TRUE(caller_has_scope(&caller, "models"));
	CU_ASSERT_FALSE(caller_has_scope(&caller, "model"));
	CU_ASSERT_FALSE(caller_has_scope(&caller, ""));
	OK(keyring_check(&ring, str_of(fresh.text), NOW, &caller));
	CU_ASSERT_TRUE(caller_has_scope(&caller, "models"));
	OK(keyring_check(&ring, str_of(plain.text), NOW, &caller));
	CU_ASSERT_FALSE(caller_has_scope(&caller, "models"));
	OK(keyring_check(&ring, STR("the-environment"), NOW, &caller));
	CU_ASSERT_FALSE(caller_has_scope(&caller, "models"));
	keyring_release(&ring);
	db_close(db);

	static const char *const bad[] = {"all", "models,", ",models", "models,models", "Models", "models ", ","};
	CU_ASSERT_TRUE(scopes_are_valid(STR("")) && scopes_are_valid(STR("models")));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_FALSE(scopes_are_valid(str_of(bad[i])));
}

/* Those of users are not held, and found by what they say. */
static void keys_of_users(void)
{
	struct db *db = test_database("users.db");
	struct made made = make("laptop");
	struct user_row user = {.active = true, .username = "u", .username_key = "u", .email = "e", .email_key = "e"};
	struct keyring ring;
	struct key_row row;
	uint8_t hash[KEY_HASH_BYTES];
	char id[KEY_ID_BYTES];

	test_begin(db);
	OK(users_insert(db, &user, NULL));
	made.row.user_id = user.id;
	OK(keys_insert(db, &made.row, NULL));
	test_commit(db);
	keyring_init(&ring, STR(""));
	OK(keyring_refresh(&ring, db, NULL));
	CU_ASSERT_EQUAL(ring.n, 0);
	IS(check(&ring, made.text, NOW), STATUS_FORBIDDEN);
	CU_ASSERT_TRUE_FATAL(keyring_read_key(str_of(made.text), id, hash));
	OK(keys_find(db, str_of(id), &row, NULL));
	CU_ASSERT_EQUAL(row.user_id, user.id);
	CU_ASSERT_EQUAL(memcmp(row.hash, hash, sizeof(hash)), 0);
	CU_ASSERT_FALSE(keyring_read_key(STR("dev-key"), id, hash));
	CU_ASSERT_FALSE(keyring_read_key(STR(""), id, hash));
	keyring_release(&ring);
	db_close(db);
}

static void a_seed_always_makes_the_same_key(void)
{
	static const uint8_t seed[KEYRING_SEED_BYTES] = {1}, other[KEYRING_SEED_BYTES] = {2};
	char texts[3][KEY_TEXT_BYTES];
	struct key_row rows[3] = {0};

	keyring_derive(seed, texts[0], &rows[0]);
	keyring_derive(seed, texts[1], &rows[1]);
	keyring_derive(other, texts[2], &rows[2]);
	CU_ASSERT_STRING_EQUAL(texts[0], texts[1]);
	CU_ASSERT_EQUAL(memcmp(&rows[0], &rows[1], sizeof(rows[0])), 0);
	CU_ASSERT_STRING_NOT_EQUAL(texts[0], texts[2]);
	CU_ASSERT_STRING_NOT_EQUAL(rows[0].id, rows[2].id);
	CU_ASSERT_EQUAL(strlen(texts[0]), KEY_TEXT_BYTES - 1);
}

static const struct unit_case CASES[] = {
	{"the key of the environment", the_key_of_the_environment},
	{"no key in the environment", no_key_in_the_environment},
	{"generated keys have their form", generated_keys_have_their_form},
	{"the key before is as good", the_key_before_is_as_good},
	{"keys of the database", keys_of_the_database},
	{"hostile keys", hostile_keys},
	{"expiry and revocation have their time", expiry_and_revocation_have_their_time},
	{"changes are seen at the next look", changes_are_seen_at_the_next_look},
	{"both keys are good while they overlap", both_keys_are_good_while_they_overlap},
	{"scopes belong to a key", scopes_belong_to_a_key},
	{"known keys outlive a failure", known_keys_outlive_a_failure},
	{"keys of users", keys_of_users},
	{"a seed always makes the same key", a_seed_always_makes_the_same_key},
};

int main(void)
{
	return UNIT_RUN("keyring", CASES);
}
