/* Tables models and model_routes. */
#include "store_helpers.h"

#include "store/generations.h"
#include "store/models.h"

static const char HASH[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static struct models_version version_of(const char *name, const char *version)
{
	struct models_version out = {.loaded = true, .added_us = 1000};

	snprintf(out.name, sizeof(out.name), "%s", name);
	snprintf(out.version, sizeof(out.version), "%s", version);
	snprintf(out.hash, sizeof(out.hash), "%s", HASH);
	return out;
}

static void test_undo(struct db *db)
{
	db_rollback(db);
	db_turn_give(db);
}

static struct db *with_versions(const char *file, const char *const *versions, int n)
{
	struct db *db = test_database(file);
	bool there = true;

	test_begin(db);
	for (int i = 0; i < n; i++) {
		struct models_version version = version_of("wine", versions[i]);
		OK(models_add(db, &version, &there, NULL));
		CU_ASSERT_FALSE(there);
	}
	test_commit(db);
	return db;
}

static int64_t generation(struct db *db)
{
	int64_t n = -1;

	OK(generations_read(db, MODELS_TOPIC, &n, NULL));
	return n;
}

struct seen {
	char text[1000];
	size_t n;
};

static bool see(void *arg, const struct models_version *version)
{
	struct seen *seen = arg;

	seen->n += (size_t)snprintf(seen->text + seen->n, sizeof(seen->text) - seen->n, "%s/%s:%d ", version->name,
				    version->version, version->loaded);
	return true;
}

static const char *versions_text(struct db *db)
{
	static struct seen seen;

	seen.n = 0;
	seen.text[0] = '\0';
	OK(models_each(db, see, &seen, NULL));
	return seen.text;
}

/* "1=90 2=10 sticky shadow <before" of the model wine. */
static const char *route_text(struct db *db)
{
	static char text[2000];
	char shares[MODELS_SHARES_BYTES];
	struct models_route route;
	static struct err err;

	if (models_find_route(db, STR("wine"), &route, &err) != STATUS_OK)
		return err.text;
	models_format_shares(&route.shares, shares);
	snprintf(text, sizeof(text), "%s|%s|%s|%d:%s", shares, route.sticky, route.shadow, route.former,
		 route.rollback_to);
	return text;
}

struct asked {
	const char *shares, *sticky, *shadow, *builtin;
};

/* Tries a change in a transaction that is committed when it succeeds. */
static enum status change(struct db *db, struct asked asked, struct err *err)
{
	struct models_shares shares;
	struct models_change wanted = {.name = STR("wine"),
				       .sticky = asked.sticky,
				       .shadow = asked.shadow,
				       .builtin = str_of(asked.builtin),
				       .now_us = 5};

	if (asked.shares) {
		OK(models_parse_shares(str_of(asked.shares), &shares, NULL));
		wanted.shares = &shares;
	}
	test_begin(db);
	enum status status = models_set_route(db, &wanted, err);
	if (status == STATUS_OK)
		test_commit(db);
	else
		test_undo(db);
	return status;
}

static void parses_shares(void)
{
	static const struct {
		const char *text, *out; /* NULL: refused with err */
		const char *err;
	} cases[] = {
		{"1=90 2=10", "1=90 2=10", ""},
		{" v1.0  ", "v1.0=100", ""},
		{"1=1 2=2 3=3 4=4 5=5 6=6 7=7 8=10000", "1=1 2=2 3=3 4=4 5=5 6=6 7=7 8=10000", ""},
		{"1=1 2=2 3=3 4=4 5=5 6=6 7=7 8=8 9=9", NULL, "At most 8 versions share the requests of a model."},
		{"", NULL, "A route wants at least one version."},
		{"1=50 1=50", NULL, "Version 1 is there twice."},
		{"1=0", NULL, "The share of version 1 is no whole number from 1 to 10000."},
		{"1=10001", NULL, "The share of version 1 is no whole number from 1 to 10000."},
		{"1=", NULL, "The share of version 1 is no whole number from 1 to 10000."},
		{"1=2=3", NULL, "The share of version 1 is no whole number from 1 to 10000."},
		{"=5", NULL, "\"=5\" is no share: it wants VERSION=NUMBER."},
		{"../x=5", NULL, "\"../x=5\" is no share: it wants VERSION=NUMBER."},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char out[MODELS_SHARES_BYTES];
		struct models_shares shares;
		struct err err = {0};
		enum status status = models_parse_shares(str_of(cases[i].text), &shares, &err);
		CU_ASSERT_EQUAL(status, cases[i].out ? STATUS_OK : STATUS_INVALID);
		CU_ASSERT_STRING_EQUAL(err.text, cases[i].err);
		if (status == STATUS_OK) {
			models_format_shares(&shares, out);
			CU_ASSERT_STRING_EQUAL(out, cases[i].out);
		}
	}
}

static void longest_shares_fit(void)
{
	struct models_shares shares = {.n = MODELS_SHARES_MAX}, again;
	char out[MODELS_SHARES_BYTES];

	for (int i = 0; i < shares.n; i++) {
		memset(shares.of[i].version, 'a' + i, MODELS_NAME_BYTES - 1);
		shares.of[i].share = MODELS_SHARE_MAX;
	}
	models_format_shares(&shares, out);
	OK(models_parse_shares(str_of(out), &again, NULL));
	CU_ASSERT_EQUAL(memcmp(&shares, &again, sizeof(shares)), 0);
}

static void knows_sticky(void)
{
	CU_ASSERT_TRUE(models_sticky_is_valid(STR("")));
	CU_ASSERT_TRUE(models_sticky_is_valid(STR("key")));
	CU_ASSERT_TRUE(models_sticky_is_valid(STR("header:X-User-Id")));
	CU_ASSERT_FALSE(models_sticky_is_valid(STR("header:")));
	CU_ASSERT_FALSE(models_sticky_is_valid(STR("header:a b")));
	CU_ASSERT_FALSE(models_sticky_is_valid(STR("cookie")));
	CU_ASSERT_FALSE(models_sticky_is_valid(
		STR("header:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")));
}

static void adds(void)
{
	struct db *db = with_versions("add.db", (const char *const[]){"2", "10"}, 2);
	struct models_version version = version_of("wine", "2"), found;
	bool there = false;
	struct err err;

	CU_ASSERT_EQUAL(generation(db), 2);
	CU_ASSERT_STRING_EQUAL(versions_text(db), "wine/10:1 wine/2:1 ");
	test_begin(db);
	OK(models_add(db, &version, &there, NULL));
	CU_ASSERT_TRUE(there);
	version.hash[0] = 'f';
	CU_ASSERT_EQUAL(models_add(db, &version, &there, &err), STATUS_CONFLICT);
	CU_ASSERT_STRING_EQUAL(err.text, "Model wine 2 is there already, with another content: versions don't change.");
	test_commit(db);
	CU_ASSERT_EQUAL(generation(db), 2);
	OK(models_find(db, STR("wine"), STR("2"), &found, NULL));
	CU_ASSERT_STRING_EQUAL(found.hash, HASH);
	CU_ASSERT_EQUAL(found.added_us, 1000);
	CU_ASSERT_EQUAL(models_find(db, STR("wine"), STR("3"), &found, &err), STATUS_NOT_FOUND);
	CU_ASSERT_STRING_EQUAL(err.text, "There is no model wine/3.");
	db_close(db);
}

static void routes(void)
{
	struct db *db = with_versions("route.db", (const char *const[]){"1", "2", "3"}, 3);
	struct err err = {0};

	CU_ASSERT_STRING_EQUAL(route_text(db), "Nothing is active for model wine.");
	CU_ASSERT_EQUAL(change(db, (struct asked){.sticky = "key"}, &err), STATUS_NOT_FOUND);
	OK(change(db, (struct asked){.shares = "1"}, &err));
	CU_ASSERT_STRING_EQUAL(route_text(db), "1=100|||0:");
	CU_ASSERT_EQUAL(generation(db), 4);
	OK(change(db, (struct asked){.shares = "1=90 2=10", .sticky = "key", .shadow = "3"}, &err));
	CU_ASSERT_STRING_EQUAL(route_text(db), "1=90 2=10|key|3|1:1=100");
	OK(change(db, (struct asked){.sticky = "header:X-User-Id"}, &err));
	CU_ASSERT_STRING_EQUAL(route_text(db), "1=90 2=10|header:X-User-Id|3|1:1=100");
	OK(change(db, (struct asked){.shares = "1=90 2=10", .sticky = ""}, &err));
	CU_ASSERT_STRING_EQUAL(route_text(db), "1=90 2=10||3|1:1=100");
	OK(change(db, (struct asked){.shares = "3"}, &err));
	CU_ASSERT_STRING_EQUAL(route_text(db), "3=100|||2:1=90 2=10");
	CU_ASSERT_EQUAL(generation(db), 8);
	CU_ASSERT_EQUAL(change(db, (struct asked){.shares = "4"}, &err), STATUS_NOT_FOUND);
	CU_ASSERT_EQUAL(change(db, (struct asked){.shadow = "4"}, &err), STATUS_NOT_FOUND);
	CU_ASSERT_EQUAL(change(db, (struct asked){.shadow = "3"}, &err), STATUS_INVALID);
	CU_ASSERT_EQUAL(change(db, (struct asked){.sticky = "luck"}, &err), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(route_text(db), "3=100|||2:1=90 2=10");
	CU_ASSERT_EQUAL(generation(db), 8);
	db_close(db);
}

static void rolls_back(void)
{
	struct db *db = with_versions("rollback.db", (const char *const[]){"1", "2", "3"}, 3);
	struct err err;

	OK(change(db, (struct asked){.shares = "1"}, NULL));
	OK(change(db, (struct asked){.shares = "2"}, NULL));
	OK(change(db, (struct asked){.shares = "3"}, NULL));
	test_begin(db);
	OK(models_rollback(db, STR("wine"), STR(""), 9, NULL));
	test_commit(db);
	CU_ASSERT_STRING_EQUAL(route_text(db), "2=100|||1:1=100");
	test_begin(db);
	OK(models_rollback(db, STR("wine"), STR(""), 9, NULL));
	test_commit(db);
	CU_ASSERT_STRING_EQUAL(route_text(db), "1=100|||0:");
	test_begin(db);
	CU_ASSERT_EQUAL(models_rollback(db, STR("wine"), STR(""), 9, &err), STATUS_NOT_FOUND);
	CU_ASSERT_STRING_EQUAL(err.text, "Model wine has no route to go back to.");
	test_undo(db);
	CU_ASSERT_EQUAL(generation(db), 8);
	db_close(db);
}

static void keeps_few_former(void)
{
	struct db *db = with_versions("former.db", (const char *const[]){"1", "2"}, 2);
	struct models_route route;

	for (int i = 1; i <= 40; i++) {
		char shares[40];
		snprintf(shares, sizeof(shares), "1=%d 2=1", i);
		OK(change(db, (struct asked){.shares = shares}, NULL));
	}
	OK(models_find_route(db, STR("wine"), &route, NULL));
	CU_ASSERT_EQUAL(route.former, MODELS_FORMER_MAX);
	CU_ASSERT_STRING_EQUAL(route.rollback_to, "1=39 2=1");
	db_close(db);
}

static void removes(void)
{
	struct db *db = with_versions("remove.db", (const char *const[]){"1", "2", "3"}, 3);
	struct err err;

	OK(change(db, (struct asked){.shares = "1"}, NULL));
	OK(change(db, (struct asked){.shares = "2", .shadow = "3"}, NULL));
	test_begin(db);
	CU_ASSERT_EQUAL(models_remove(db, STR("wine"), STR("2"), &err), STATUS_CONFLICT);
	CU_ASSERT_STRING_EQUAL(
		err.text, "Version 2 of model wine is active: activate another one first, or, when it is the last one, "
			  "unload the model.");
	CU_ASSERT_EQUAL(models_remove(db, STR("wine"), STR("3"), &err), STATUS_CONFLICT);
	CU_ASSERT_STRING_EQUAL(
		err.text,
		"Version 3 of model wine is the shadow: activate another one first, or, when it is the last one, "
		"unload the model.");
	CU_ASSERT_EQUAL(models_remove(db, STR("wine"), STR("4"), &err), STATUS_NOT_FOUND);
	OK(models_remove(db, STR("wine"), STR("1"), NULL));
	test_commit(db);
	CU_ASSERT_STRING_EQUAL(versions_text(db), "wine/2:1 wine/3:1 ");
	CU_ASSERT_STRING_EQUAL(route_text(db), "2=100||3|0:");
	CU_ASSERT_EQUAL(generation(db), 6);
	db_close(db);
}

static void removes_the_last_one_when_it_is_unloaded(void)
{
	struct db *db = with_versions("last.db", (const char *const[]){"1", "2"}, 2);
	struct models_version other = version_of("wine0", "1");
	struct models_route route;
	bool there;

	OK(change(db, (struct asked){.shares = "1"}, NULL));
	test_begin(db);
	OK(models_add(db, &other, &there, NULL));
	OK(models_set_loaded(db, STR("wine"), (struct str){0}, false, NULL));
	CU_ASSERT_EQUAL(models_remove(db, STR("wine"), STR("1"), NULL), STATUS_CONFLICT);
	OK(models_remove(db, STR("wine"), STR("2"), NULL));
	OK(models_set_loaded(db, STR("wine"), (struct str){0}, true, NULL));
	CU_ASSERT_EQUAL(models_remove(db, STR("wine"), STR("1"), NULL), STATUS_CONFLICT);
	OK(models_set_loaded(db, STR("wine"), (struct str){0}, false, NULL));
	OK(models_remove(db, STR("wine"), STR("1"), NULL));
	test_commit(db);
	CU_ASSERT_STRING_EQUAL(versions_text(db), "wine0/1:1 ");
	CU_ASSERT_EQUAL(models_find_route(db, STR("wine"), &route, NULL), STATUS_NOT_FOUND);
	db_close(db);
}

static void unloads(void)
{
	struct db *db = with_versions("unload.db", (const char *const[]){"1", "2"}, 2);
	struct models_version other = version_of("wine0", "1");
	bool there;

	test_begin(db);
	OK(models_add(db, &other, &there, NULL));
	test_commit(db);
	OK(change(db, (struct asked){.shares = "1"}, NULL));
	test_begin(db);
	CU_ASSERT_EQUAL(models_set_loaded(db, STR("wine"), STR("1"), false, NULL), STATUS_CONFLICT);
	OK(models_set_loaded(db, STR("wine"), STR("2"), false, NULL));
	test_commit(db);
	CU_ASSERT_STRING_EQUAL(versions_text(db), "wine/1:1 wine/2:0 wine0/1:1 ");
	test_begin(db);
	OK(models_set_loaded(db, STR("wine"), STR(""), false, NULL));
	CU_ASSERT_EQUAL(models_set_loaded(db, STR("win"), STR(""), false, NULL), STATUS_NOT_FOUND);
	CU_ASSERT_EQUAL(models_set_loaded(db, STR("wine"), STR("9"), true, NULL), STATUS_NOT_FOUND);
	test_commit(db);
	CU_ASSERT_STRING_EQUAL(versions_text(db), "wine/1:0 wine/2:0 wine0/1:1 ");
	CU_ASSERT_STRING_EQUAL(route_text(db), "1=100|||0:");
	OK(change(db, (struct asked){.shares = "2"}, NULL));
	CU_ASSERT_STRING_EQUAL(versions_text(db), "wine/1:0 wine/2:1 wine0/1:1 ");
	db_close(db);
}

static void knows_a_builtin(void)
{
	struct db *db = with_versions("builtin.db", (const char *const[]){"2"}, 1);

	OK(change(db, (struct asked){.shadow = "2", .builtin = "v1.0"}, NULL));
	CU_ASSERT_STRING_EQUAL(route_text(db), "v1.0=100||2|0:");
	OK(change(db, (struct asked){.shares = "v1.0=9 2=1", .builtin = "v1.0"}, NULL));
	CU_ASSERT_STRING_EQUAL(route_text(db), "v1.0=9 2=1|||1:v1.0=100");
	test_begin(db);
	OK(models_rollback(db, STR("wine"), STR("v1.0"), 9, NULL));
	test_commit(db);
	CU_ASSERT_STRING_EQUAL(route_text(db), "v1.0=100|||0:");
	db_close(db);
}

static const struct unit_case CASES[] = {
	{"reads and writes shares", parses_shares},
	{"the longest shares fit", longest_shares_fit},
	{"knows what is sticky", knows_sticky},
	{"adds a version once", adds},
	{"routes", routes},
	{"rolls back", rolls_back},
	{"keeps few former routes", keeps_few_former},
	{"removes what no route needs", removes},
	{"removes the last one when it is unloaded", removes_the_last_one_when_it_is_unloaded},
	{"loads and unloads", unloads},
	{"a built-in version needs no row", knows_a_builtin},
};

int main(void)
{
	return UNIT_RUN("models", CASES);
}
