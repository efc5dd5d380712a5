/* Kinds that keep the service's own data in order, as schedules say.
 *
 *   expiry      what has a time to end has ended: Idempotency-Keys, sessions, finished tasks
 *   retention   analysed texts of the last RETENTION_DAYS are kept, older ones go (predictions: app.c)
 *   backup      a copy of the database in DATA_DIR/backups, of which the newest are kept
 *   checkpoint  SQLite's log is moved into the database
 *
 * All are done in small pieces, each a transaction with the task's progress, so that requests wait for none of it. */
#include "task/functions.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "store/idempotency.h"
#include "store/retention.h"
#include "store/sentiments.h"
#include "store/sessions.h"
#include "task/export.h"
#include "task/upload_expiry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 200, BACKUPS_KEPT = 7, SESSIONS_KEPT_DAYS = 7 /* after their end, for whoever looks into a theft */ };

static const int64_t US_PER_DAY = INT64_C(86400000000);

/* --- pieces --- */

/* Deletes at most PIECE rows that are old; *more: there may be more, also when it deleted none. */
typedef enum status delete_rows(struct db *db, int64_t before_us, int64_t *deleted, bool *more, struct err *err);

struct pieces {
	const char *name; /* of the table */
	delete_rows *fn;
	int64_t before_us;
	int64_t deleted, total;
	bool more;
};

static enum status delete_piece(struct db *db, struct task_run *run, void *arg, struct err *err)
{
	struct pieces *pieces = arg;

	(void)run;
	return pieces->fn(db, pieces->before_us, &pieces->deleted, &pieces->more, err);
}

static enum status delete_all(struct task_run *run, struct pieces *pieces, struct err *err)
{
	enum status status;

	do {
		status = task_checkpoint(run, run->task->done, 0, delete_piece, pieces, err);
		pieces->total += status == STATUS_OK ? pieces->deleted : 0;
	} while (status == STATUS_OK && pieces->more); /* fewer than it may be: what takes long is cut short */
	return status;
}

/* {"idempotency_keys":12,"background_tasks":0} */
static void tell_deleted(struct task_run *run, const struct pieces *pieces, int n)
{
	struct buf out;

	buf_init(&out, run->arena);
	buf_char(&out, '{');
	for (int i = 0; i < n; i++) {
		if (i > 0)
			buf_char(&out, ',');
		json_put_string(&out, str_of(pieces[i].name));
		buf_char(&out, ':');
		json_put_i64(&out, pieces[i].total);
	}
	buf_char(&out, '}');
	run->result = out.failed ? STR("{}") : buf_view(&out);
}

static enum status delete_each(struct task_run *run, struct pieces *pieces, int n, struct err *err)
{
	enum status status = STATUS_OK;

	for (int i = 0; i < n && status == STATUS_OK; i++)
		status = delete_all(run, &pieces[i], err);
	if (status == STATUS_OK)
		tell_deleted(run, pieces, n);
	return status;
}

/* --- expiry --- */

static enum status expire_keys(struct db *db, int64_t before_us, int64_t *deleted, bool *more, struct err *err)
{
	enum status status = idempotency_delete_expired(db, before_us, PIECE, deleted, err);

	*more = *deleted > 0;
	return status;
}

static enum status expire_sessions(struct db *db, int64_t before_us, int64_t *deleted, bool *more, struct err *err)
{
	enum status status = sessions_expire(db, before_us, PIECE, deleted, err);

	*more = *deleted > 0;
	return status;
}

static enum status expire_tasks(struct db *db, int64_t before_us, int64_t *deleted, bool *more, struct err *err)
{
	return tasks_expire(db, before_us, PIECE, deleted, more, err);
}

/* Of uploads that ended half-way. */
static enum status expire_parts(struct db *db, int64_t before_us, int64_t *deleted, bool *more, struct err *err)
{
	enum status status = tasks_expire_parts(db, before_us, deleted, err);

	*more = *deleted > 0;
	return status;
}

/* By the earlier of this machine's clock and the server's. */
static enum status ask_time(struct task_run *run, int64_t days, struct retention_time *time, struct err *err)
{
	enum status status = retention_ask(run->db, clock_wall_us(), days, time, err);

	if (status == STATUS_OK && time->apart)
		status = err_set(err, STATUS_UNAVAILABLE,
				 "The clocks of this machine and of the database's server are more than an hour apart: "
				 "nothing is deleted.");
	return status;
}

enum status task_expiry(struct task_run *run, struct err *err)
{
	struct retention_time time;
	enum status status = ask_time(run, 0, &time, err);

	if (status != STATUS_OK)
		return status;
	struct pieces pieces[] = {
		{.name = "idempotency_keys", .fn = expire_keys, .before_us = time.now_us},
		{.name = "sessions", .fn = expire_sessions, .before_us = time.now_us - SESSIONS_KEPT_DAYS * US_PER_DAY},
		{.name = "background_tasks", .fn = expire_tasks, .before_us = time.now_us},
		{.name = "task_parts", .fn = expire_parts, .before_us = time.now_us},
	};
	status = delete_each(run, pieces, sizeof(pieces) / sizeof(pieces[0]), err);
	if (status == STATUS_OK)
		export_expire(run, time.now_us);
	return status == STATUS_OK ? upload_expire(run, time.now_us, err) : status;
}

/* --- retention --- */

static enum status delete_sentiments(struct db *db, int64_t before_us, int64_t *deleted, bool *more, struct err *err)
{
	enum status status = sentiments_expire(db, before_us / 1000, PIECE, deleted, err);

	*more = *deleted > 0;
	return status;
}

/* Where even the newest row is old the clock may be wrong: the serving workers wait for a day before they believe it.
 */
enum status task_retention(struct task_run *run, struct err *err)
{
	int64_t days = run->config->retention_days;
	struct retention_time time;
	enum status status = ask_time(run, days, &time, err);

	if (status != STATUS_OK)
		return status;
	struct pieces pieces[] = {
		{.name = "sentiment_requests", .fn = delete_sentiments, .before_us = time.now_us - days * US_PER_DAY}};
	return delete_each(run, pieces, days > 0 && !time.all_old ? 1 : 0, err);
}

/* --- backup --- */

static const char PREFIX[] = "appcore-";

/* DATA_DIR/backups, for nobody else to read. */
static enum status make_folder(const struct config *config, char *out, size_t size, struct err *err)
{
	int n = snprintf(out, size, "%s/backups", config->data_dir);

	if (n < 0 || (size_t)n >= size)
		return err_set(err, STATUS_INVALID, "DATA_DIR is too long for backups.");
	if (mkdir(out, 0700) != 0 && errno != EEXIST)
		return err_set(err, STATUS_UNAVAILABLE, "%.100s can't be made: %s.", out, strerror(errno));
	return STATUS_OK;
}

static int is_backup(const struct dirent *entry)
{
	return strncmp(entry->d_name, PREFIX, sizeof(PREFIX) - 1) == 0;
}

/* Names sort as their times do. */
static int newest_first(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*b)->d_name, (*a)->d_name);
}

static void keep_newest(const char *folder)
{
	struct dirent **list;
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int n = scandir(folder, &list, is_backup, newest_first);

	for (int i = 0; i < n; i++) {
		if (i >= BACKUPS_KEPT && fd >= 0 && unlinkat(fd, list[i]->d_name, 0) != 0)
			log_event(LOG_LEVEL_WARNING, "the old backup %s can't be removed: %s", list[i]->d_name,
				  strerror(errno));
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	if (fd >= 0)
		close(fd);
}

/* Named by the time of the task, so that another attempt finds what the first one wrote whole. */
enum status task_backup(struct task_run *run, struct err *err)
{
	bool sqlite = db_dialect(run->db) == DB_DIALECT_SQLITE;
	char folder[4000], path[4096], iso[CLOCK_ISO_BYTES], id[ID_TEXT_BYTES];
	struct buf out;

	enum status status = make_folder(run->config, folder, sizeof(folder), err);
	if (status != STATUS_OK)
		return status;
	clock_format_iso(id_time_ms(&run->task->id) * 1000, iso);
	id_format(&run->task->id, id);
	snprintf(path, sizeof(path), "%s/%s%.4s%.2s%.2sT%.2s%.2s%.2sZ-%s.%s", folder, PREFIX, iso, iso + 5, iso + 8,
		 iso + 11, iso + 14, iso + 17, id + ID_TEXT_BYTES - 5, sqlite ? "db" : "dump");
	status = db_backup(run->db, path, err);
	if (status != STATUS_OK && status != STATUS_CONFLICT)
		return status;
	keep_newest(folder);
	buf_init(&out, run->arena);
	buf_str(&out, STR("{\"file\":"));
	json_put_string(&out, str_of(path));
	buf_char(&out, '}');
	run->result = buf_view(&out);
	return STATUS_OK;
}

/* --- checkpoint --- */

enum status task_wal_checkpoint(struct task_run *run, struct err *err)
{
	bool done = false;

	enum status status = db_turn_take(run->db, 10 * 1000, err);
	if (status != STATUS_OK)
		return status;
	status = db_checkpoint(run->db, 0, &done, err);
	db_turn_give(run->db);
	run->result = done ? STR("{\"checkpointed\":true}") : STR("{\"checkpointed\":false}");
	return status;
}
