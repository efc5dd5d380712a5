/* DataFlow's own paths, at the root and below /api/dataflow: its records (those of the pipeline "dataflow") and its
 * health. POST /data/process is in data_start.c. */
#include "handlers/data.h"
#include "handlers/handlers.h"
#include "handlers/rows.h"

#include "app.h"
#include "base/clock.h"
#include "base/json.h"
#include "http/query.h"

#include <math.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <time.h>

enum { PAGE_ROWS = 100, PAGES_MAX = 100, SAMPLE_MS = 100 };

/* --- GET /data?status=&page= --- */

struct listing {
	struct rows rows;
	struct record_query query;
	int64_t page, seen;
	bool more;
};

static bool take_row(void *arg, const struct record_row *row, const struct record_value *sort)
{
	struct listing *listing = arg;

	(void)sort;
	if (listing->seen++ < (listing->page - 1) * PAGE_ROWS)
		return true;
	if (listing->rows.n == PAGE_ROWS) {
		listing->more = true;
		return false;
	}
	struct buf *body = rows_next(&listing->rows, row->data.n);
	if (!body)
		return false;
	data_put_record(body, row, false);
	return rows_sent(&listing->rows);
}

static enum status read_page(struct db *db, void *arg, struct err *err)
{
	struct listing *listing = arg;
	struct buf *body = &listing->rows.req->response.body;

	buf_str(body, STR("{\"data\":["));
	enum status status = runs_find_pipeline(db, STR("dataflow"), &listing->query.pipeline_id, err);
	if (status == STATUS_OK)
		status = records_query(db, &listing->query, take_row, listing, err);
	buf_fmt(body, "],\"page\":%lld,\"has_more\":%s}", (long long)listing->page, listing->more ? "true" : "false");
	return status == STATUS_NOT_FOUND ? STATUS_OK : status; /* nothing was stored yet */
}

/* False: answered. */
static bool read_status(struct request *req, struct record_query *query)
{
	enum record_status status;
	struct str text;

	if (!data_read_text(req, "status", &text))
		return false;
	if (text.n == 0)
		return true;
	if (!record_status_parse(text, &status)) {
		query_answer(req, "enum", "Input should be 'raw', 'processed' or 'failed'", "status", text,
			     STR("{\"expected\":\"'raw', 'processed' or 'failed'\"}"));
		return false;
	}
	query->filters[query->filters_n++] = (struct record_filter){
		.field = STR("@status"), .compare = RECORD_EQ, .is_number = true, .number = status};
	return true;
}

static void page_slowly(struct request *req, struct db *thread_db)
{
	struct listing *listing = arena_zalloc(&req->arena, sizeof(*listing));
	struct db *db = data_connect(req, thread_db);

	if (!listing || !db || !query_read_int(req, "page", 1, 1, PAGES_MAX, &listing->page) ||
	    !read_status(req, &listing->query)) {
		request_finish(req);
		return;
	}
	listing->query.descending = true;
	listing->query.within_ms = DATA_PAGE_MS;
	listing->query.limit = (int)listing->page * PAGE_ROWS + 1;
	rows_stream(&listing->rows, req);
	rows_finish(&listing->rows, db, read_page, listing);
}

void dataflow_get_list(struct request *req)
{
	request_go_slow(req, req->app->lists, page_slowly);
}

/* --- health --- */

static void answer_health(struct request *req, bool healthy, const char *service, const char *details)
{
	struct buf *body = &req->response.body;

	req->response.status = healthy ? 200 : 503;
	req->response.content_type = "application/json";
	buf_fmt(body, "{\"service\":\"%s\",\"status\":\"%s\",\"timestamp\":", service,
		healthy ? "healthy" : "unhealthy");
	json_put_double(body, (double)clock_wall_us() / 1e6);
	buf_fmt(body, ",\"details\":{%s}}", details);
}

void dataflow_get_health(struct request *req)
{
	req->response.status = 200;
	req->response.content_type = "application/json";
	buf_str(&req->response.body, STR("{\"status\":\"healthy\",\"service\":\"dataflow-api\"}"));
	request_finish(req);
}

struct cpu {
	unsigned long long busy, all;
};

/* The first line of /proc/stat, in ticks since the machine started: user, nice, system, idle, iowait, irq, softirq,
 * steal. */
static bool read_cpu(struct cpu *out)
{
	unsigned long long v[8] = {0};
	FILE *file = fopen("/proc/stat", "re");
	int n = file ? fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4],
			      &v[5], &v[6], &v[7])
		     : 0;

	if (file)
		fclose(file);
	*out = (struct cpu){0};
	for (int i = 0; i < 8; i++)
		out->all += v[i];
	out->busy = out->all - v[3] - v[4];
	return n >= 4;
}

static double percent(double part, double whole)
{
	return whole > 0 ? round(fmin(fmax(part / whole, 0.0), 1.0) * 1000.0) / 10.0 : 0.0;
}

/* What could be had without swapping counts as free. */
static double memory_percent(void)
{
	unsigned long long total = 0, available = 0;
	char line[200];
	FILE *file = fopen("/proc/meminfo", "re");

	while (file && fgets(line, sizeof(line), file)) {
		(void)sscanf(line, "MemTotal: %llu kB", &total);
		(void)sscanf(line, "MemAvailable: %llu kB", &available);
	}
	if (file)
		fclose(file);
	return percent((double)total - (double)available, (double)total);
}

/* Of what may be used: what is kept for root is neither used nor free. */
static double disk_percent(void)
{
	struct statvfs fs;

	if (statvfs("/", &fs) != 0)
		return 0.0;
	double used = (double)(fs.f_blocks - fs.f_bfree);
	return percent(used, used + (double)fs.f_bavail);
}

static void system_slowly(struct request *req, struct db *db)
{
	const struct timespec pause = {.tv_nsec = SAMPLE_MS * 1000000L};
	char details[160];
	struct cpu first, second;

	(void)db;
	bool known = read_cpu(&first);
	nanosleep(&pause, NULL);
	known = read_cpu(&second) && known;
	snprintf(details, sizeof(details), "\"cpu_percent\":%.1f,\"memory_percent\":%.1f,\"disk_percent\":%.1f",
		 known ? percent((double)(second.busy - first.busy), (double)(second.all - first.all)) : 0.0,
		 memory_percent(), disk_percent());
	answer_health(req, true, "system", details);
	request_finish(req);
}

void dataflow_get_health_system(struct request *req)
{
	request_go_slow(req, req->app->lists, system_slowly);
}

static void database_slowly(struct request *req, struct db *thread_db)
{
	struct db *own = NULL, *db = thread_db;
	struct err err = {0};
	char details[160];

	uint64_t start_ns = clock_mono_ns();
	enum status status = db ? STATUS_OK : store_connect(req->app->store, &own, &err);
	db = db ? db : own;
	if (status == STATUS_OK)
		status = db_ping(db, &err);
	double ms = (double)(clock_mono_ns() - start_ns) / 1e6;
	if (status == STATUS_OK)
		snprintf(details, sizeof(details), "\"engine\":\"%s\",\"response_ms\":%.3f",
			 db_dialect(db) == DB_DIALECT_SQLITE ? "SQLite" : "PostgreSQL", ms);
	else
		snprintf(details, sizeof(details), "\"error\":\"the store can't be used now\"");
	req->error = status == STATUS_OK ? req->error : arena_dup(&req->arena, str_of(err.text));
	db_close(own);
	answer_health(req, status == STATUS_OK, "database", details);
	request_finish(req);
}

void dataflow_get_health_database(struct request *req)
{
	request_go_slow(req, req->app->lists, database_slowly);
}
