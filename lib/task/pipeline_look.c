/* The kind "pipeline_ingest": looks at DATA_DIR/raw and makes a run for each file that a pipeline takes.
 *
 *   raw/NAME            the pipeline whose source.match it matches, of several the longest one's
 *   raw/PIPELINE/NAME   that pipeline
 *
 * A file that was changed in the last seconds may still be being written: it is left for the next look, or, when it is
 * all there is to wait for, for the end of this one. Links, folders and names that are hidden, too long or no plain
 * text are passed over. Nothing is read twice: one run at a time has a path, a file that was read is in the archive,
 * and one whose run failed or was cancelled stays until it is changed. */
#include "task/functions.h"
#include "task/ingest.h"
#include "task/pipeline_impl.h"

#include "base/clock.h"
#include "base/cron.h"
#include "base/json.h"
#include "base/log.h"
#include "pipeline/http_source.h"
#include "shared/wake.h"
#include "store/schedules.h"
#include "task/measure.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { PIPELINES_MOST = 256, FILES_MOST = 1000 /* in one look */, NAME_MOST = 200, DEFINITIONS_BYTES = 128 << 20 };

static const int64_t AHEAD_US = 60000000;

struct look {
	struct task_run *run;
	struct arena arena; /* definitions */
	const struct pipeline *pipelines[PIPELINES_MOST];
	int pipelines_n;
	enum status status; /* of listing them */
	int files, started, odd;
	bool young; /* some were changed a moment ago */
	struct err err;
};

/* --- the pipelines --- */

static bool note_pipeline(void *arg, struct str name)
{
	struct look *look = arg;
	struct pipeline *pipeline;
	struct buf problems;
	struct err err;

	if (look->pipelines_n == PIPELINES_MOST)
		return false;
	buf_init(&problems, &look->arena);
	enum status status = pipeline_load(look->run->config->pipelines_dir, name, &look->arena, &pipeline, &problems,
					   &err);
	if (status == STATUS_OK)
		look->pipelines[look->pipelines_n++] = pipeline;
	else
		log_event(LOG_LEVEL_WARNING, "the pipeline %.*s is not looked after: %.*s", STR_ARG(name),
			  problems.n > 0 ? (int)(problems.n < 400 ? problems.n : 400) : (int)strlen(err.text),
			  problems.n > 0 ? problems.p : err.text);
	return true;
}

/* Of several patterns the longest holds: "reviews*.csv" before "*.csv"; of these the first by name. */
static const struct pipeline *find_pipeline(const struct look *look, const char *folder, const char *name)
{
	const struct pipeline *found = NULL;
	char pattern[256];

	for (int i = 0; i < look->pipelines_n; i++) {
		const struct pipeline *pipeline = look->pipelines[i];
		if (folder && strcmp(folder, pipeline->name) == 0)
			return pipeline;
		if (folder || pipeline->source.match.n == 0 || pipeline->source.match.n >= sizeof(pattern))
			continue;
		snprintf(pattern, sizeof(pattern), "%.*s", STR_ARG(pipeline->source.match));
		if (fnmatch(pattern, name, FNM_PERIOD) == 0 &&
		    (!found || pipeline->source.match.n > found->source.match.n))
			found = pipeline;
	}
	return found;
}

/* --- a file --- */

static bool is_odd(const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f || name[i] == '\\')
			return true;
	return n > NAME_MOST || !str_is_utf8(str_of(name));
}

struct found {
	struct look *look;
	const struct pipeline *pipeline;
	const char *name;
	char path[PIPELINE_PATH_BYTES];
	struct stat st;
	struct edge_identity edge;
	bool started;
};

static enum status start(struct db *db, void *arg, struct err *err)
{
	struct found *found = arg;
	const struct pipeline *pipeline = found->pipeline;
	struct ingest ingest = {
		.pipeline = str_of(pipeline->name),
		.definition = pipeline->text,
		.source = str_of(found->name),
		.path = str_of(found->path),
		.origin = STR("raw"),
		.bytes = found->st.st_size,
	};
	struct id id = id_of_edge(&found->edge), is = id;
	int64_t parked_us;

	found->started = false;
	enum status status = runs_find_parked(db, ingest.path, &parked_us, err);
	int64_t changed_us = found->st.st_ctim.tv_sec * INT64_C(1000000) + found->st.st_ctim.tv_nsec / 1000;
	if (status != STATUS_OK || changed_us < parked_us)
		return status;
	status = ingest_start(db, &ingest, &is, &found->started, err);
	found->started = found->started && memcmp(&is, &id, sizeof(id)) == 0;
	return status;
}

static enum status take_file(struct look *look, const struct pipeline *pipeline, const char *folder, const char *name,
			     const struct stat *st, struct err *err)
{
	struct found found = {.look = look, .pipeline = pipeline, .name = name, .st = *st};

	int n = snprintf(found.path, sizeof(found.path), "raw/%s%s%s", folder ? folder : "", folder ? "/" : "", name);
	if (n < 0 || (size_t)n >= sizeof(found.path))
		return STATUS_OK;
	edge_generate(&found.edge);
	enum status status = db_transact(look->run->db, -1, start, &found, err);
	if (status != STATUS_OK || !found.started)
		return status;
	look->started++;
	if (look->run->shm) {
		task_created_count(look->run->shm, STR(INGEST_KIND_RUN), 1);
		wake_all(look->run->shm, WAKE_TASKS);
		wake_all(look->run->shm, WAKE_EVENTS);
	}
	return STATUS_OK;
}

static bool is_young(const struct stat *st)
{
	int64_t now_us = clock_wall_us();
	int64_t changed_us = st->st_mtim.tv_sec * INT64_C(1000000) + st->st_mtim.tv_nsec / 1000;

	/* One from the future has a date of its own. */
	return now_us - changed_us < PIPELINE_QUIET_US && changed_us - now_us < AHEAD_US;
}

static enum status look_at_file(struct look *look, int dir, const char *folder, const char *name, struct err *err)
{
	const struct pipeline *pipeline = find_pipeline(look, folder, name);
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || S_ISDIR(st.st_mode))
		return STATUS_OK;
	if (!S_ISREG(st.st_mode) || is_odd(name)) {
		look->odd++;
		return STATUS_OK;
	}
	if (!pipeline || st.st_size == 0)
		return STATUS_OK;
	look->files++;
	if (is_young(&st)) {
		look->young = true;
		return STATUS_OK;
	}
	return take_file(look, pipeline, folder, name, &st, err);
}

/* --- folders --- */

static int is_shown(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static enum status look_at_folder(struct look *look, const char *folder, struct err *err)
{
	enum status status = STATUS_OK;
	char path[PIPELINE_PATH_BYTES], relative[256];
	struct dirent **list;

	snprintf(relative, sizeof(relative), "raw%s%s", folder ? "/" : "", folder ? folder : "");
	if (!pipeline_path(look->run->config, str_of(relative), path))
		return err_set(err, STATUS_INVALID, "DATA_DIR is too long.");
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 && folder)
		return STATUS_OK;
	if (dir < 0)
		return err_set(err, STATUS_UNAVAILABLE, "%.100s can't be read: %s.", path, strerror(errno));
	int n = scandirat(dir, ".", &list, is_shown, alphasort);
	for (int i = 0; i < n; i++) {
		if (status == STATUS_OK && look->started < FILES_MOST)
			status = look_at_file(look, dir, folder, list[i]->d_name, err);
		if (status == STATUS_OK && i % 64 == 63)
			status = task_checkpoint(look->run, look->run->task->done, 0, NULL, NULL, err);
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	close(dir);
	return status;
}

static enum status look_around(struct look *look, struct err *err)
{
	look->files = look->odd = 0;
	look->young = false;
	enum status status = look_at_folder(look, NULL, err);
	for (int i = 0; status == STATUS_OK && i < look->pipelines_n; i++)
		status = look_at_folder(look, look->pipelines[i]->name, err);
	return status;
}

/* --- APIs --- */

struct due {
	struct look *look;
	const struct pipeline *pipeline;
	struct edge_identity edge;
	bool started;
};

/* Whether it is time for one ("every"), and when it is next. Whoever asks for it does not wait. */
static enum status is_due(struct db *db, const struct due *due, bool *now, struct err *err)
{
	const struct http_source *api = due->pipeline->source.api;
	int64_t now_us = clock_wall_us();
	char name[PIPELINE_NAME_BYTES + 16];
	struct schedule_row row;
	struct cron cron;
	bool found;

	*now = due->look->run->task->priority < TASK_PRIORITY_SERVICE;
	if (api->every.n == 0 || cron_parse(api->every, &cron) != NULL)
		return STATUS_OK;
	snprintf(name, sizeof(name), "pipeline %s", due->pipeline->name);
	enum status status = schedules_find(db, str_of(name), &found, &row, err);
	if (status != STATUS_OK)
		return status;
	bool known = found && str_eq(str_of(row.expression), api->every);
	int64_t next_us = cron_next(&cron, now_us);
	/* One that lies further ahead than the next time is from a clock that was. */
	*now |= known && row.next_us <= now_us;
	if (known && !*now && row.next_us <= next_us)
		return STATUS_OK;
	return schedules_set(db, str_of(name), api->every, next_us, err);
}

static enum status start_api(struct db *db, void *arg, struct err *err)
{
	struct due *due = arg;
	struct id id = id_of_edge(&due->edge), is = id;
	bool now;

	due->started = false;
	enum status status = is_due(db, due, &now, err);
	if (status == STATUS_OK && now)
		status = ingest_start_api(db, due->pipeline, due->look->run->task->user_id, NULL, &is, &due->started,
					  err);
	due->started = due->started && memcmp(&is, &id, sizeof(id)) == 0;
	return status;
}

static void tell_started(struct look *look)
{
	look->started++;
	if (!look->run->shm)
		return;
	task_created_count(look->run->shm, STR(INGEST_KIND_RUN), 1);
	wake_all(look->run->shm, WAKE_TASKS);
	wake_all(look->run->shm, WAKE_EVENTS);
}

static enum status look_at_apis(struct look *look, struct err *err)
{
	enum status status = STATUS_OK;

	for (int i = 0; status == STATUS_OK && i < look->pipelines_n; i++) {
		struct due due = {.look = look, .pipeline = look->pipelines[i]};
		if (!due.pipeline->source.api)
			continue;
		edge_generate(&due.edge);
		status = db_transact(look->run->db, -1, start_api, &due, err);
		if (status == STATUS_OK && due.started)
			tell_started(look);
	}
	return status;
}

/* --- the kind --- */

static enum status end_strays(struct db *db, void *arg, struct err *err)
{
	return runs_end_strays(db, clock_wall_us(), arg, err);
}

static enum status look_twice(struct look *look, struct err *err)
{
	struct timespec nap = {.tv_nsec = 100 * 1000000L};
	enum status status = look_around(look, err);

	for (int i = 0; status == STATUS_OK && look->young && i < 22; i++) {
		nanosleep(&nap, NULL);
		status = task_checkpoint(look->run, look->run->task->done, 0, NULL, NULL, err);
		if (status == STATUS_OK && i == 21)
			status = look_around(look, err);
	}
	return status;
}

enum status task_pipeline_ingest(struct task_run *run, struct err *err)
{
	struct look *look = calloc(1, sizeof(*look));
	struct buf out;
	int64_t strays;

	if (!look)
		return err_set(err, STATUS_NO_MEMORY, "no memory for looking at files");
	look->run = run;
	arena_init(&look->arena, DEFINITIONS_BYTES);
	enum status status = pipeline_make_folders(run->config, err);
	if (status == STATUS_OK)
		status = db_transact(run->db, -1, end_strays, &strays, err);
	if (status == STATUS_OK)
		status = pipeline_each(run->config->pipelines_dir, note_pipeline, look, err);
	if (status == STATUS_NOT_FOUND)
		status = STATUS_OK; /* there are no pipelines */
	if (status == STATUS_OK)
		status = look_at_apis(look, err);
	if (status == STATUS_OK)
		status = look_twice(look, err);
	if (status == STATUS_OK) {
		buf_init(&out, run->arena);
		buf_fmt(&out, "{\"files\":%d,\"started\":%d,\"odd\":%d}", look->files, look->started, look->odd);
		run->result = out.failed ? STR("{}") : buf_view(&out);
	}
	arena_release(&look->arena);
	free(look);
	return status;
}
