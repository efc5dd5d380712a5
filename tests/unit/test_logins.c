/* Failed logins: how many at once, how they are paid back, what is under way, and floods of names. */
#include "unit.h"

#include "shared/shm_impl.h"

#include <stdio.h>
#include <stdlib.h>

enum { AT = 1000 * 1000 }; /* any time */

static struct shm *open_fresh(void)
{
	char dir[256];
	struct shm *shm;

	snprintf(dir, sizeof(dir), "%s/run-XXXXXX", unit_temp_dir());
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	CU_ASSERT_FATAL(shm_open_dir(&shm, dir, NULL) == STATUS_OK);
	CU_ASSERT_FATAL(shm_claim_slot(shm, "a", NULL) == STATUS_OK);
	return shm;
}

static struct limit_id somebody(void)
{
	return logins_id(STR("203.0.113.1"), STR("somebody"));
}

static enum logins_answer admit(struct shm *shm, struct limit_id id, uint64_t now_ms)
{
	uint64_t retry_ms;

	return logins_admit(shm, id, now_ms, &retry_ms);
}

/* Admitted, and failed. */
static bool fails(struct shm *shm, struct limit_id id, uint64_t now_ms)
{
	if (admit(shm, id, now_ms) != LOGINS_ADMITTED)
		return false;
	logins_settle(shm, id, true, now_ms);
	return true;
}

static void test_four_at_once(void)
{
	struct shm *shm = open_fresh();
	struct limit_id id = somebody();
	uint64_t retry_ms;

	for (int i = 0; i < LOGINS_AT_ONCE; i++)
		CU_ASSERT(fails(shm, id, AT));
	CU_ASSERT_EQUAL(logins_admit(shm, id, AT, &retry_ms), LOGINS_REFUSED);
	CU_ASSERT_EQUAL(retry_ms, LOGINS_SPACING_MS);
	CU_ASSERT_EQUAL(logins_admit(shm, id, AT + LOGINS_SPACING_MS - 1, &retry_ms), LOGINS_REFUSED);
	CU_ASSERT_EQUAL(retry_ms, 1);
	shm_close(shm);
}

static void test_one_more_each_spacing(void)
{
	struct shm *shm = open_fresh();
	struct limit_id id = somebody();
	uint64_t now_ms = AT;

	for (int i = 0; i < LOGINS_AT_ONCE; i++)
		CU_ASSERT(fails(shm, id, now_ms));
	for (int i = 0; i < 10; i++) {
		now_ms += LOGINS_SPACING_MS;
		CU_ASSERT(fails(shm, id, now_ms));
		CU_ASSERT_FALSE(fails(shm, id, now_ms));
	}
	/* After a long while it is four again, and not more. */
	now_ms += UINT64_C(100) * LOGINS_SPACING_MS;
	for (int i = 0; i < LOGINS_AT_ONCE; i++)
		CU_ASSERT(fails(shm, id, now_ms));
	CU_ASSERT_FALSE(fails(shm, id, now_ms));
	shm_close(shm);
}

static void test_success_takes_nothing(void)
{
	struct shm *shm = open_fresh();
	struct limit_id id = somebody();

	for (int i = 0; i < 100; i++) {
		CU_ASSERT_EQUAL(admit(shm, id, AT), LOGINS_ADMITTED);
		logins_settle(shm, id, false, AT);
	}
	for (int i = 0; i < LOGINS_AT_ONCE; i++)
		CU_ASSERT(fails(shm, id, AT));
	CU_ASSERT_FALSE(fails(shm, id, AT));
	shm_close(shm);
}

static void test_under_way_counts(void)
{
	struct shm *shm = open_fresh();
	struct limit_id id = somebody();

	CU_ASSERT(fails(shm, id, AT));
	for (int i = 1; i < LOGINS_AT_ONCE; i++)
		CU_ASSERT_EQUAL(admit(shm, id, AT), LOGINS_ADMITTED);
	/* Room is taken by those under way alone: theirs is the word. */
	CU_ASSERT_EQUAL(admit(shm, id, AT), LOGINS_WAIT);
	logins_settle(shm, id, false, AT);
	CU_ASSERT_EQUAL(admit(shm, id, AT), LOGINS_ADMITTED);
	for (int i = 1; i < LOGINS_AT_ONCE; i++)
		logins_settle(shm, id, true, AT);
	CU_ASSERT_EQUAL(admit(shm, id, AT), LOGINS_REFUSED);
	shm_close(shm);
}

/* Their workers were killed. */
static void test_never_settled(void)
{
	struct shm *shm = open_fresh();
	struct limit_id id = somebody();

	for (int i = 0; i < LOGINS_AT_ONCE; i++)
		CU_ASSERT_EQUAL(admit(shm, id, AT), LOGINS_ADMITTED);
	CU_ASSERT_EQUAL(admit(shm, id, AT + 59 * 1000), LOGINS_WAIT);
	CU_ASSERT_EQUAL(admit(shm, id, AT + 60 * 1000), LOGINS_ADMITTED);
	shm_close(shm);
}

static void test_who_is_who(void)
{
	static const struct {
		const char *address, *name;
	} OTHERS[] = {
		{"203.0.113.2", "somebody"}, {"203.0.113.1", "else"},      {"203.0.113.1", ""},
		{"2001:db8::1", "somebody"}, {"203.0.113.1", "somebody "}, {"", "somebody"},
	};
	struct shm *shm = open_fresh();

	while (fails(shm, somebody(), AT))
		;
	for (size_t i = 0; i < sizeof(OTHERS) / sizeof(OTHERS[0]); i++) {
		struct limit_id other = logins_id(str_of(OTHERS[i].address), str_of(OTHERS[i].name));
		CU_ASSERT(fails(shm, other, AT));
	}
	CU_ASSERT_FALSE(fails(shm, somebody(), AT));
	CU_ASSERT_FALSE(fails(shm, logins_id(STR("::ffff:203.0.113.1"), STR("somebody")), AT));
	shm_close(shm);
}

/* A flood of names takes the places of those that owe less first. */
static void test_flood(void)
{
	struct shm *shm = open_fresh();
	char name[32];

	while (fails(shm, somebody(), AT))
		;
	for (int i = 0; i < 4 * LOGINS_NAMES; i++) {
		snprintf(name, sizeof(name), "name %d", i);
		CU_ASSERT(fails(shm, logins_id(STR("203.0.113.1"), str_of(name)), AT));
	}
	CU_ASSERT_FALSE(fails(shm, somebody(), AT));
	shm_close(shm);
}

static void test_strange_times(void)
{
	struct shm *shm = open_fresh();

	/* A clock that begins anew must not refuse for days. */
	while (fails(shm, somebody(), UINT64_C(1) << 50))
		;
	CU_ASSERT(fails(shm, somebody(), AT));
	shm_close(shm);
}

static const struct unit_case CASES[] = {
	{"four at once", test_four_at_once},
	{"one more each spacing", test_one_more_each_spacing},
	{"a success takes nothing", test_success_takes_nothing},
	{"what is under way counts", test_under_way_counts},
	{"what is never settled is forgotten", test_never_settled},
	{"who is who", test_who_is_who},
	{"a flood of names", test_flood},
	{"strange times", test_strange_times},
};

int main(void)
{
	return UNIT_RUN("logins", CASES);
}
