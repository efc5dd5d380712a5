/* The row goes first: whoever is at work on the file then can't say that it got on. Files that a worker leaves in
 * between are of no row, and go a day later. */
#include "task/upload_expiry.h"

#include "base/log.h"
#include "task/upload.h"

enum { PIECE = 100, STRAYS_MOST = 1000 };
static const int64_t STRAY_US = INT64_C(86400000000);

static enum status delete_row(struct db *db, struct task_run *run, void *arg, struct err *err)
{
	(void)run;
	return uploads_delete(db, arg, err);
}

static void remove_files(const struct config *config, const struct id *id)
{
	struct err err;

	if (upload_remove(config, id, &err) != STATUS_OK)
		log_event(LOG_LEVEL_WARNING, "an old upload's files stay for now: %s", err.text);
}

static enum status delete_piece(struct task_run *run, int64_t now_us, int *n, struct err *err)
{
	struct id ids[PIECE];

	enum status status = uploads_find_expired(run->db, now_us, ids, PIECE, n, err);
	for (int i = 0; i < *n && status == STATUS_OK; i++) {
		status = task_checkpoint(run, run->task->done, 0, delete_row, &ids[i], err);
		if (status == STATUS_OK)
			remove_files(run->config, &ids[i]);
	}
	return status;
}

struct strays {
	struct db *db;
	enum status status;
	struct err *err;
	struct id ids[STRAYS_MOST];
	int n;
};

static bool note_stray(void *arg, const struct id *id)
{
	struct strays *strays = arg;
	bool has = true;

	strays->status = uploads_has(strays->db, id, &has, strays->err);
	if (strays->status == STATUS_OK && !has)
		strays->ids[strays->n++] = *id;
	return strays->status == STATUS_OK && strays->n < STRAYS_MOST;
}

/* One in which a worker writes is young, or locked. */
static enum status remove_strays(struct task_run *run, int64_t now_us, struct err *err)
{
	struct strays *strays = arena_zalloc(run->arena, sizeof(*strays));

	if (!strays)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a list of uploads");
	strays->db = run->db;
	strays->err = err;
	upload_each_old(run->config, now_us - STRAY_US, note_stray, strays);
	for (int i = 0; i < strays->n; i++)
		remove_files(run->config, &strays->ids[i]);
	return strays->status;
}

enum status upload_expire(struct task_run *run, int64_t now_us, struct err *err)
{
	enum status status;
	int n;

	do {
		status = delete_piece(run, now_us, &n, err);
	} while (status == STATUS_OK && n == PIECE);
	return status == STATUS_OK ? remove_strays(run, now_us, err) : status;
}
