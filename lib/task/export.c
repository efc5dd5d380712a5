/* The kind "data_export". Records are read page by page behind a place, so that no read lasts long; memory is bounded
 * by a page's rows one at a time. A file has its name when it is whole and on the disk; an attempt that ended begins
 * anew. What is stored meanwhile may be in it or not. */
#include "task/export.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "pipeline/csv_write.h"
#include "pipeline/definition.h"
#include "store/runs.h"
#include "task/functions.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { PAGE_ROWS = 2000, FIRST_ROWS = 100, PAGE_MS = 60 * 1000, PIECE_BYTES = 64 * 1024, TELL_MS = 500 };
enum { ROW_BYTES = 16 << 20, NAME_BYTES = ID_TEXT_BYTES + 16, PATH_BYTES = 4096 };
static const int64_t STRAY_US = INT64_C(3600000000);

static const char *const FORMATS[EXPORT_FORMAT__MAX] = {
	[EXPORT_CSV] = "csv", [EXPORT_JSON_LINES] = "jsonl", [EXPORT_JSON] = "json"};

const char *export_format_name(enum export_format format)
{
	return FORMATS[format];
}

bool export_format_parse(struct str name, enum export_format *out)
{
	for (int i = 0; i < EXPORT_FORMAT__MAX; i++)
		if (str_eq(name, str_of(FORMATS[i]))) {
			*out = (enum export_format)i;
			return true;
		}
	return false;
}

/* --- the payload --- */

static void put_filter(struct buf *out, const struct record_filter *filter)
{
	buf_str(out, STR("{\"field\":"));
	json_put_string(out, filter->field);
	buf_fmt(out, ",\"compare\":%d", (int)filter->compare);
	if (filter->is_number) {
		buf_str(out, STR(",\"number\":"));
		json_put_double(out, filter->number);
	}
	if (filter->is_text) {
		buf_str(out, STR(",\"text\":"));
		json_put_string(out, filter->text);
	}
	buf_char(out, '}');
}

void export_put_payload(struct buf *out, const struct export_wish *wish)
{
	buf_str(out, STR("{\"pipeline\":"));
	json_put_string(out, wish->pipeline);
	buf_fmt(out, ",\"format\":\"%s\",\"gzip\":%s,\"filters\":[", FORMATS[wish->format],
		wish->gzip ? "true" : "false");
	for (int i = 0; i < wish->query.filters_n; i++) {
		if (i > 0)
			buf_char(out, ',');
		put_filter(out, &wish->query.filters[i]);
	}
	buf_str(out, STR("],\"q\":"));
	json_put_string(out, wish->query.search);
	buf_str(out, STR(",\"fields\":["));
	for (int i = 0; i < wish->columns_n; i++) {
		if (i > 0)
			buf_char(out, ',');
		json_put_string(out, wish->columns[i]);
	}
	buf_str(out, STR("]}"));
}

static struct str text_of(struct json_value root, struct str name, struct arena *arena)
{
	struct json_value value;

	return json_member(root, name, &value) && value.type == JSON_STRING ? json_string(value, arena)
									    : (struct str){0};
}

static bool read_filter(struct json_value item, struct arena *arena, struct record_filter *filter)
{
	struct json_value value;
	double compare;

	filter->field = text_of(item, STR("field"), arena);
	if (filter->field.n == 0 || !json_member(item, STR("compare"), &value) || value.type != JSON_NUMBER ||
	    !json_number(value, &compare) || compare < 0 || compare > RECORD_ABSENT)
		return false;
	filter->compare = (enum record_compare)compare;
	filter->is_number = json_member(item, STR("number"), &value) && value.type == JSON_NUMBER;
	if (filter->is_number && !json_number(value, &filter->number))
		return false;
	filter->is_text = json_member(item, STR("text"), &value) && value.type == JSON_STRING;
	if (filter->is_text)
		filter->text = json_string(value, arena);
	return true;
}

static bool read_columns(struct json_value list, struct arena *arena, struct export_wish *out)
{
	struct json_iter iter;
	struct json_value item;

	out->columns = arena_alloc(arena, EXPORT_COLUMNS_MAX * sizeof(*out->columns));
	if (!out->columns || list.type != JSON_ARRAY)
		return false;
	json_iter_init(&iter, list);
	while (json_next(&iter, NULL, &item))
		if (item.type != JSON_STRING || out->columns_n == EXPORT_COLUMNS_MAX)
			return false;
		else
			out->columns[out->columns_n++] = json_string(item, arena);
	return true;
}

bool export_read_payload(struct str payload, struct arena *arena, struct export_wish *out)
{
	struct json_value root, value, item;
	struct json_fault fault;
	struct json_iter iter;

	*out = (struct export_wish){0};
	if (!json_check(payload, JSON_MAX_DEPTH, &root, &fault) || root.type != JSON_OBJECT)
		return false;
	out->pipeline = text_of(root, STR("pipeline"), arena);
	out->query.search = text_of(root, STR("q"), arena);
	out->gzip = json_member(root, STR("gzip"), &value) && value.type == JSON_TRUE;
	if (out->pipeline.n == 0 || !export_format_parse(text_of(root, STR("format"), arena), &out->format) ||
	    !json_member(root, STR("filters"), &value) || value.type != JSON_ARRAY)
		return false;
	json_iter_init(&iter, value);
	while (json_next(&iter, NULL, &item))
		if (out->query.filters_n == RECORD_FILTERS_MAX ||
		    !read_filter(item, arena, &out->query.filters[out->query.filters_n++]))
			return false;
	return json_member(root, STR("fields"), &value) && read_columns(value, arena, out);
}

/* --- the file --- */

struct export
{
	struct task_run *run;
	struct export_wish wish;
	int dir, fd;
	gzFile gz; /* over a copy of fd */
	char name[NAME_BYTES], part[NAME_BYTES];
	struct buf text;      /* of a piece */
	struct arena scratch; /* of a row */
	struct json_value *cells;
	int64_t rows, last_seq;
	int page;
	int fault; /* errno of what could not be written; 0: all was */
	uint64_t told_ms;
};

static enum status file_fault(struct err *err)
{
	return err_set(err, STATUS_UNAVAILABLE, "A file in DATA_DIR/exports can't be written: %s.", strerror(errno));
}

static int open_folder(const struct config *config)
{
	char path[PATH_BYTES];
	int n = snprintf(path, sizeof(path), "%s/exports", config->data_dir);

	if (n < 0 || n >= PATH_BYTES || (mkdir(path, 0770) != 0 && errno != EEXIST))
		return -1;
	return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static enum status open_file(struct export *export, struct err *err)
{
	char id[ID_TEXT_BYTES];

	id_format(&export->run->task->id, id);
	snprintf(export->name, sizeof(export->name), "%s.%s%s", id, FORMATS[export->wish.format],
		 export->wish.gzip ? ".gz" : "");
	snprintf(export->part, sizeof(export->part), "%s.part", id);
	if ((export->dir = open_folder(export->run->config)) < 0)
		return file_fault(err);
	export->fd = openat(export->dir, export->part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0660);
	if (export->fd < 0)
		return file_fault(err);
	if (!export->wish.gzip)
		return STATUS_OK;
	int copy = fcntl(export->fd, F_DUPFD_CLOEXEC, 0);
	if (copy >= 0 && !(export->gz = gzdopen(copy, "wb6")))
		close(copy);
	return export->gz ? STATUS_OK : err_set(err, STATUS_NO_MEMORY, "no memory for a compressed export");
}

static bool write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t wrote = write(fd, p, n);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return false;
		p += wrote;
		n -= (size_t)wrote;
	}
	return true;
}

/* What is there goes to the file. False: it can't. */
static bool flush(struct export *export)
{
	struct buf *text = &export->text;
	bool good = !text->failed;

	errno = ENOMEM;
	if (good && text->n > 0)
		good = export->gz ? gzwrite(export->gz, text->p, (unsigned)text->n) == (int)text->n
				  : write_all(export->fd, text->p, text->n);
	if (!good)
		export->fault = errno ? errno : EIO;
	text->n = 0;
	return good;
}

static enum status finish_file(struct export *export, int64_t *bytes, struct err *err)
{
	struct stat st;
	bool good = flush(export);

	if (export->gz) {
		good &= gzclose(export->gz) == Z_OK;
		export->gz = NULL;
	}
	if (export->fault)
		errno = export->fault;
	if (!good || fsync(export->fd) != 0 || fstat(export->fd, &st) != 0 ||
	    renameat(export->dir, export->part, export->dir, export->name) != 0 || fsync(export->dir) != 0)
		return file_fault(err);
	*bytes = st.st_size;
	return STATUS_OK;
}

static void close_file(struct export *export, bool keeps)
{
	if (export->gz)
		gzclose(export->gz);
	if (export->fd >= 0)
		close(export->fd);
	if (!keeps && export->dir >= 0 && export->fd >= 0 && unlinkat(export->dir, export->part, 0) != 0 &&
	    errno != ENOENT)
		log_event(LOG_LEVEL_WARNING, "an export that is not complete can't be removed: %s", strerror(errno));
	if (export->dir >= 0)
		close(export->dir);
}

/* --- rows --- */

static void add_column(struct export *export, struct str name)
{
	struct export_wish *wish = &export->wish;

	for (int i = 0; i < wish->columns_n; i++)
		if (str_eq(wish->columns[i], name))
			return;
	if (wish->columns_n == EXPORT_COLUMNS_MAX)
		return;
	struct str copy = arena_dup(export->run->arena, name);
	if (copy.p)
		wish->columns[wish->columns_n++] = copy;
}

static bool note_columns(void *arg, const struct record_row *row, const struct record_value *sort)
{
	struct export *export = arg;
	struct json_value root = {.type = JSON_OBJECT, .text = row->data}, key, value;
	struct json_iter iter;

	(void)sort;
	arena_reset(&export->scratch);
	json_iter_init(&iter, root);
	while (json_next(&iter, &key, &value))
		add_column(export, json_string(key, &export->scratch));
	return true;
}

static enum status find_columns(struct export *export, struct err *err)
{
	struct record_query first = export->wish.query;
	struct pipeline *definition;
	struct buf problems;

	export->cells = arena_alloc(export->run->arena, EXPORT_COLUMNS_MAX * sizeof(*export->cells));
	if (!export->cells)
		return err_set(err, STATUS_NO_MEMORY, "no memory for an export");
	if (export->wish.columns_n > 0)
		return STATUS_OK;
	buf_init(&problems, export->run->arena);
	if (pipeline_load(export->run->config->pipelines_dir, export->wish.pipeline, export->run->arena, &definition,
			  &problems, NULL) == STATUS_OK)
		for (int i = 0; i < definition->fields_n; i++)
			add_column(export, definition->fields[i].name);
	first.limit = FIRST_ROWS;
	return first.pipeline_id > 0 ? records_query(export->run->db, &first, note_columns, export, err) : STATUS_OK;
}

static void put_csv_head(struct export *export)
{
	for (int i = 0; i < export->wish.columns_n; i++) {
		if (i > 0)
			buf_char(&export->text, ',');
		csv_put_cell(&export->text, export->wish.columns[i], true);
	}
	buf_str(&export->text, STR("\r\n"));
}

static void put_csv_row(struct export *export, const struct record_row *row)
{
	csv_put_members(&export->text, row->data, export->wish.columns, (size_t) export->wish.columns_n, export->cells,
			&export->scratch);
}

static bool take_row(void *arg, const struct record_row *row, const struct record_value *sort)
{
	struct export *export = arg;

	(void)sort;
	if (export->wish.format == EXPORT_CSV) {
		put_csv_row(export, row);
	} else {
		if (export->wish.format == EXPORT_JSON && export->rows > 0)
			buf_str(&export->text, STR(",\n"));
		buf_str(&export->text, row->data);
		if (export->wish.format == EXPORT_JSON_LINES)
			buf_char(&export->text, '\n');
	}
	export->rows++;
	export->page++;
	export->last_seq = row->seq;
	return export->text.n < PIECE_BYTES || flush(export);
}

static enum status tell(struct export *export, struct err *err)
{
	uint64_t now_ms = clock_mono_ms();

	if (now_ms - export->told_ms < TELL_MS)
		return STATUS_OK;
	export->told_ms = now_ms;
	return task_checkpoint(export->run, export->rows, 0, NULL, NULL, err);
}

static enum status write_rows(struct export *export, struct err *err)
{
	struct record_query *query = &export->wish.query;
	enum status status = STATUS_OK;

	if (export->wish.format == EXPORT_CSV)
		put_csv_head(export);
	else if (export->wish.format == EXPORT_JSON)
		buf_char(&export->text, '[');
	while (status == STATUS_OK && query->pipeline_id > 0) {
		export->page = 0;
		status = records_query(export->run->db, query, take_row, export, err);
		if (status == STATUS_OK && export->fault) {
			errno = export->fault;
			status = file_fault(err);
		}
		if (status != STATUS_OK || export->page < query->limit)
			break;
		query->has_after = true;
		query->after_seq = export->last_seq;
		status = tell(export, err);
	}
	if (export->wish.format == EXPORT_JSON)
		buf_str(&export->text, STR("]\n"));
	return status;
}

/* {"file":"<id>.csv.gz","rows":10,"bytes":100} */
static void put_result(struct export *export, int64_t bytes)
{
	struct buf out;

	buf_init(&out, export->run->arena);
	buf_fmt(&out, "{\"file\":\"%s\",\"rows\":%lld,\"bytes\":%lld}", export->name, (long long)export->rows,
		(long long)bytes);
	export->run->result = out.failed ? STR("{}") : buf_view(&out);
}

static enum status work(struct export *export, struct err *err)
{
	struct record_query *query = &export->wish.query;
	int64_t bytes = 0;

	enum status status = runs_find_pipeline(export->run->db, export->wish.pipeline, &query->pipeline_id, err);
	if (status == STATUS_NOT_FOUND) /* nothing was ever stored: an empty export */
		status = STATUS_OK;
	query->limit = PAGE_ROWS;
	query->within_ms = PAGE_MS;
	if (status == STATUS_OK)
		status = open_file(export, err);
	if (status == STATUS_OK && export->wish.format == EXPORT_CSV)
		status = find_columns(export, err);
	if (status == STATUS_OK)
		status = write_rows(export, err);
	if (status == STATUS_OK)
		status = finish_file(export, &bytes, err);
	if (status == STATUS_OK)
		put_result(export, bytes);
	return status;
}

enum status task_data_export(struct task_run *run, struct err *err)
{
	struct export export = {.run = run, .dir = -1, .fd = -1};

	if (!export_read_payload(run->task->payload, run->arena, &export.wish))
		return err_set(err, STATUS_INVALID, "The payload is not that of an export.");
	arena_init(&export.scratch, ROW_BYTES);
	buf_init_heap(&export.text);
	enum status status = work(&export, err);
	close_file(&export, status == STATUS_OK);
	buf_release(&export.text);
	arena_release(&export.scratch);
	return status;
}

/* --- expiry --- */

static bool is_of_a_task(struct task_run *run, struct str name)
{
	struct task_row row;
	struct id id;
	struct err err;

	return name.n < ID_TEXT_BYTES || !id_parse((struct str){name.p, ID_TEXT_BYTES - 1}, &id) ||
	       tasks_find(run->db, &id, -1, run->arena, &row, &err) != STATUS_NOT_FOUND;
}

void export_expire(struct task_run *run, int64_t now_us)
{
	const struct dirent *entry;
	struct stat st;
	int fd = open_folder(run->config);
	DIR *list = fd >= 0 ? fdopendir(fd) : NULL;

	if (fd >= 0 && !list)
		close(fd);
	while (list && (entry = readdir(list)))
		if (fstatat(dirfd(list), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
		    st.st_mtim.tv_sec * INT64_C(1000000) < now_us - STRAY_US &&
		    !is_of_a_task(run, str_of(entry->d_name)) && unlinkat(dirfd(list), entry->d_name, 0) != 0)
			log_event(LOG_LEVEL_WARNING, "an old export can't be removed: %s", strerror(errno));
	if (list)
		closedir(list);
}
