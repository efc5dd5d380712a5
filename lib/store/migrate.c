/* Schema migrations. What is applied stands in table schema_migrations, which the first step up makes. Each step is one
 * transaction in one turn and looks at the state again inside: of two processes that start at once the second finds
 * nothing to do. */
#include "store/migrate.h"

#include "base/clock.h"
#include "base/id.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { CHECKSUM_BYTES = 32, TURN_WAIT_MS = 1000, PATIENCE_MS = 30000, LOCK_KEY = 0x61707031 };

/* The up and down texts, each with its NUL, so that no text can move from one to the other. */
static void checksum(const struct migration *migration, char out[static 2 * CHECKSUM_BYTES + 1])
{
	uint8_t hash[CHECKSUM_BYTES];
	crypto_generichash_state state;

	crypto_generichash_init(&state, NULL, 0, sizeof(hash));
	crypto_generichash_update(&state, (const uint8_t *)migration->up, strlen(migration->up) + 1);
	crypto_generichash_update(&state, (const uint8_t *)migration->down, strlen(migration->down) + 1);
	crypto_generichash_final(&state, hash, sizeof(hash));
	hex_format(hash, sizeof(hash), out);
}

static void copy_text(char *out, size_t size, struct str text)
{
	snprintf(out, size, "%.*s", STR_ARG(text));
}

/* --- ways back --- */

const char *migrate_irreversible(const struct migration *migration, size_t *n)
{
	static const char mark[] = "-- irreversible:";
	const char *why = migration->down;

	*n = 0;
	if (strncmp(why, mark, sizeof(mark) - 1) != 0)
		return NULL;
	why += sizeof(mark) - 1;
	while (*why == ' ')
		why++;
	*n = strcspn(why, "\n");
	return why;
}

/* What a way back can't bring again, when the way there has thrown it away. */
static bool throws_away(const char *up)
{
	static const char *const words[] = {"DROP TABLE", "DROP COLUMN", "DELETE FROM", "TRUNCATE"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasestr(up, words[i]))
			return true;
	return false;
}

/* --- what is there --- */

enum status migrate_current(struct db *db, int *number, struct err *err)
{
	static const char sql[] = "SELECT max(number) FROM schema_migrations";
	struct stmt *stmt;
	bool has, row;

	*number = 0;
	enum status status = db_has_table(db, "schema_migrations", &has, err);
	if (status != STATUS_OK || !has)
		return status;
	status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row)
		*number = (int)db_column_i64(stmt, 0);
	db_reset(stmt);
	return status;
}

/* The record of `number` among the first n, or the place where it belongs. */
static int place_of(const struct migrate_record *records, int n, int number)
{
	int i = 0;

	while (i < n && records[i].number < number)
		i++;
	return i;
}

/* Marks what the table says as applied; a number that this binary does not know is put in its place. */
static void note_applied(struct migrate_record *out, int max, int *n, struct stmt *stmt)
{
	int number = (int)db_column_i64(stmt, 0);
	struct str sum = db_column_text(stmt, 2);
	int i = place_of(out, *n, number);

	if (i == *n || out[i].number != number) {
		if (*n == max)
			return;
		memmove(&out[i + 1], &out[i], (size_t)(*n - i) * sizeof(*out));
		memset(&out[i], 0, sizeof(*out));
		out[i].number = number;
		copy_text(out[i].name, sizeof(out[i].name), db_column_text(stmt, 1));
		++*n;
	}
	out[i].altered = out[i].known && !str_eq(sum, str_of(out[i].checksum));
	copy_text(out[i].checksum, sizeof(out[i].checksum), sum);
	copy_text(out[i].applied_at, sizeof(out[i].applied_at), db_column_text(stmt, 3));
}

static enum status read_applied(struct db *db, struct migrate_record *out, int max, int *n, struct err *err)
{
	static const char sql[] = "SELECT number, name, checksum, applied_at FROM schema_migrations ORDER BY number";
	struct stmt *stmt;
	bool has, row;

	enum status status = db_has_table(db, "schema_migrations", &has, err);
	if (status != STATUS_OK || !has)
		return status;
	status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	while ((status = db_step(stmt, &row, err)) == STATUS_OK && row)
		note_applied(out, max, n, stmt);
	db_reset(stmt);
	return status;
}

enum status migrate_history(struct db *db, struct migrate_record *out, int max, int *n, struct err *err)
{
	int known;
	const struct migration *all = migrate_all(db_dialect(db), &known);

	*n = 0;
	for (int i = 0; i < known && i < max; i++) {
		struct migrate_record *record = &out[(*n)++];
		memset(record, 0, sizeof(*record));
		record->number = all[i].number;
		record->known = true;
		copy_text(record->name, sizeof(record->name), str_of(all[i].name));
		checksum(&all[i], record->checksum);
		size_t ignored;
		record->reversible = !migrate_irreversible(&all[i], &ignored) && !throws_away(all[i].up);
	}
	return read_applied(db, out, max, n, err);
}

/* --- a step --- */

static const struct migration *find_known(const struct db *db, int number)
{
	int n;
	const struct migration *all = migrate_all(db_dialect(db), &n);

	for (int i = 0; i < n; i++)
		if (all[i].number == number)
			return &all[i];
	return NULL;
}

static enum status check_way_back(const struct migration *migration, struct err *err)
{
	size_t n;
	const char *why = migration ? migrate_irreversible(migration, &n) : NULL;

	if (!why)
		return STATUS_OK;
	return err_set(err, STATUS_CONFLICT, "migration %d (%s) can't be taken back: %.*s", migration->number,
		       migration->name, (int)(n > 120 ? 120 : n), why);
}

enum { RECORDS = 256 };

/* Of what is applied everything must be known and unaltered; then the next step towards the target, NULL when it is
 * reached. `done` steps are behind us already: with a dry run nothing is recorded, so they are counted off. */
static enum status next_step(struct db *db, int target, bool up, int done, const struct migration **step,
			     struct err *err)
{
	struct migrate_record *records = calloc(RECORDS, sizeof(*records));
	int n = 0;

	*step = NULL;
	if (!records)
		return err_set(err, STATUS_NO_MEMORY, "no memory for the history of migrations");
	enum status status = migrate_history(db, records, RECORDS, &n, err);
	for (int i = 0; i < n && status == STATUS_OK; i++) {
		if (!records[i].known)
			status = err_set(err, STATUS_CONFLICT,
					 "the database is newer than this program: it has migration %d (%s)",
					 records[i].number, records[i].name);
		else if (records[i].altered)
			status = err_set(err, STATUS_CONFLICT, "migration %d (%s) was altered after it was applied",
					 records[i].number, records[i].name);
	}
	for (int i = 0; i < n && status == STATUS_OK && !up; i++)
		if (records[i].applied_at[0] && records[i].number > target)
			status = check_way_back(find_known(db, records[i].number), err);
	for (int i = 0; i < n && status == STATUS_OK && !*step; i++) {
		const struct migrate_record *record = &records[up ? i : n - 1 - i];
		bool applied = record->applied_at[0] != '\0';
		bool wanted = up ? !applied && (target == 0 || record->number <= target)
				 : applied && record->number > target;
		if (wanted && done-- == 0)
			*step = find_known(db, record->number);
	}
	free(records);
	return status;
}

static enum status record_up(struct db *db, const struct migration *migration, struct err *err)
{
	static const char sql[] =
		"INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES ($1, $2, $3, $4)";
	char sum[2 * CHECKSUM_BYTES + 1], now[CLOCK_ISO_BYTES];
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	checksum(migration, sum);
	clock_format_iso(clock_wall_us(), now);
	db_bind_i64(stmt, 1, migration->number);
	db_bind_text(stmt, 2, str_of(migration->name));
	db_bind_text(stmt, 3, str_of(sum));
	db_bind_text(stmt, 4, str_of(now));
	return db_run(stmt, NULL, err);
}

static enum status record_down(struct db *db, const struct migration *migration, struct err *err)
{
	static const char sql[] = "DELETE FROM schema_migrations WHERE number = $1";

	return db_run_once(db, sql, DB_VALUES(db_i64(migration->number)), NULL, err);
}

static enum status run_step(struct db *db, const struct migration *step, bool up, struct err *err)
{
	static const char table[] = "CREATE TABLE IF NOT EXISTS schema_migrations ("
				    "number INTEGER PRIMARY KEY, name TEXT NOT NULL,"
				    " checksum TEXT NOT NULL, applied_at TEXT NOT NULL)";
	struct err why = {0};

	enum status status = up ? db_script(db, table, &why) : STATUS_OK;
	if (status == STATUS_OK)
		status = db_script(db, up ? step->up : step->down, &why);
	if (status == STATUS_OK)
		status = up ? record_up(db, step, &why) : record_down(db, step, &why);
	if (status != STATUS_OK)
		err_set(err, status, "migration %d (%s): %.180s", step->number, step->name, why.text);
	return status;
}

struct plan {
	int target;
	bool up;
	migrate_note *note;
	void *arg;
};

/* One step in its own turn and transaction. *ran: there was one. */
static enum status step_in_turn(struct db *db, const struct plan *plan, bool *ran, struct err *err)
{
	const struct migration *step = NULL;

	*ran = false;
	enum status status = db_turn_take(db, TURN_WAIT_MS, err);
	if (status != STATUS_OK)
		return status;
	status = db_begin(db, err);
	if (status == STATUS_OK) {
		status = db_lock(db, LOCK_KEY, err);
		if (status == STATUS_OK)
			status = next_step(db, plan->target, plan->up, 0, &step, err);
		if (status == STATUS_OK && step && plan->note)
			plan->note(plan->arg, step, plan->up, plan->up ? step->up : step->down);
		if (status == STATUS_OK && step)
			status = run_step(db, step, plan->up, err);
		if (status == STATUS_OK && step)
			status = db_commit(db, err);
		else
			db_rollback(db);
		*ran = status == STATUS_OK && step;
	}
	db_turn_give(db);
	return status;
}

static enum status run_plan(struct db *db, const struct plan *plan, int *ran, struct err *err)
{
	struct timespec nap = {.tv_nsec = 10 * 1000000L};
	uint64_t end = clock_mono_ms() + PATIENCE_MS;
	bool more;

	for (;;) {
		enum status status = step_in_turn(db, plan, &more, err);
		if (more)
			++*ran;
		else if (status != STATUS_BUSY || clock_mono_ms() >= end)
			return status;
		else
			nanosleep(&nap, NULL); /* another program has the database locked for a moment */
	}
}

static enum status note_plan(struct db *db, const struct plan *plan, int *ran, struct err *err)
{
	const struct migration *step;
	enum status status;

	while ((status = next_step(db, plan->target, plan->up, *ran, &step, err)) == STATUS_OK && step) {
		if (plan->note)
			plan->note(plan->arg, step, plan->up, plan->up ? step->up : step->down);
		++*ran;
	}
	return status;
}

static enum status migrate(struct db *db, const struct plan *plan, bool dry_run, int *ran, struct err *err)
{
	int count = 0;

	enum status status = dry_run ? note_plan(db, plan, &count, err) : run_plan(db, plan, &count, err);
	if (ran)
		*ran = count;
	return status;
}

enum status migrate_up(struct db *db, int target, bool dry_run, migrate_note *note, void *arg, int *ran,
		       struct err *err)
{
	struct plan plan = {.target = target, .up = true, .note = note, .arg = arg};

	return migrate(db, &plan, dry_run, ran, err);
}

enum status migrate_down(struct db *db, int target, bool dry_run, migrate_note *note, void *arg, int *ran,
			 struct err *err)
{
	struct plan plan = {.target = target, .up = false, .note = note, .arg = arg};

	return migrate(db, &plan, dry_run, ran, err);
}
