/* The files of pipelines: what they write to DATA_DIR/processed, and where sources go once they are read.
 *
 * A processed file grows with the run's transactions: what a batch adds is on the disk before the transaction that
 * records the new length commits, and whatever lies behind the recorded length is cut off by whoever goes on. */
#include "task/pipeline_impl.h"

#include "base/json.h"
#include "base/log.h"
#include "pipeline/csv_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { STEM_BYTES = 100, NAME_MOST = 200, ROW_BYTES = 64 << 20 };

static const char *const ENDINGS[] = {[OUTPUT_CSV] = "csv", [OUTPUT_JSON_LINES] = "jsonl"};
static const unsigned WANTED[] = {[OUTPUT_CSV] = PIPELINE_TO_CSV, [OUTPUT_JSON_LINES] = PIPELINE_TO_JSON_LINES};

/* --- names --- */

/* What comes after the last folder. */
static struct str base_of(struct str path)
{
	for (size_t i = path.n; i > 0; i--)
		if (path.p[i - 1] == '/')
			return (struct str){path.p + i, path.n - i};
	return path;
}

/* Where the ending of a file's name begins ("a.csv.gz": 1); its length when there is none. */
static size_t ending_of(struct str name)
{
	for (size_t i = 1; i < name.n; i++)
		if (name.p[i] == '.' && name.n - i <= 10)
			return i;
	return name.n;
}

/* The source's name for use in a file's: no folders, no ending, nothing odd. */
static void stem_of(struct str source, char out[static STEM_BYTES])
{
	struct str name = base_of(source);
	size_t n = ending_of(name);

	n = n < STEM_BYTES ? n : STEM_BYTES - 1;
	for (size_t i = 0; i < n; i++) {
		char c = name.p[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
			     c == '-' || (c == '.' && i > 0);
		out[i] = c;
		if (!plain)
			out[i] = '_';
	}
	out[n] = '\0';
	if (n == 0)
		snprintf(out, STEM_BYTES, "source");
}

bool pipeline_path(const struct config *config, struct str path, char out[static PIPELINE_PATH_BYTES])
{
	bool absolute = path.n > 0 && path.p[0] == '/';
	int n = snprintf(out, PIPELINE_PATH_BYTES, "%s%s%.*s", absolute ? "" : config->data_dir, absolute ? "" : "/",
			 STR_ARG(path));

	return n > 0 && n < PIPELINE_PATH_BYTES;
}

enum status pipeline_make_folders(const struct config *config, struct err *err)
{
	static const char *const FOLDERS[] = {"raw", "processed", "archive"};
	char path[PIPELINE_PATH_BYTES];

	for (size_t i = 0; i < sizeof(FOLDERS) / sizeof(FOLDERS[0]); i++) {
		if (!pipeline_path(config, str_of(FOLDERS[i]), path))
			return err_set(err, STATUS_INVALID, "DATA_DIR is too long.");
		if (mkdir(path, 0770) != 0 && errno != EEXIST)
			return err_set(err, STATUS_UNAVAILABLE, "%.100s can't be made: %s.", path, strerror(errno));
	}
	return STATUS_OK;
}

/* --- processed files --- */

void outputs_init(struct outputs *outputs)
{
	*outputs = (struct outputs){0};
	for (int i = 0; i < OUTPUTS; i++)
		outputs->fd[i] = -1;
	buf_init_heap(&outputs->text);
	arena_init(&outputs->arena, ROW_BYTES);
}

bool outputs_are_wanted(const struct outputs *outputs)
{
	return outputs->fd[OUTPUT_CSV] >= 0 || outputs->fd[OUTPUT_JSON_LINES] >= 0;
}

static bool names_have(const struct output_columns *columns, struct str name)
{
	for (size_t i = 0; i < columns->n; i++)
		if (str_eq(columns->names[i], name))
			return true;
	return false;
}

static bool is_a_field(const struct pipeline *pipeline, struct str column)
{
	for (int i = 0; i < pipeline->fields_n; i++)
		if (str_eq(pipeline->fields[i].from, column))
			return true;
	return false;
}

/* The fields, the model's output, and what else the source has if that is kept. What only single records have (of a
 * source without columns) is not in the CSV. The source's names are copied: one that grows is opened anew. */
static bool find_columns(struct output_columns *columns, const struct pipeline *pipeline,
			 const struct source_shape *shape, struct arena *arena)
{
	size_t most = (size_t)pipeline->fields_n + 2 + shape->names_n;

	columns->n = 0;
	columns->names = arena_alloc(arena, most * sizeof(*columns->names));
	columns->cells = arena_alloc(arena, most * sizeof(*columns->cells));
	if (!columns->names || !columns->cells)
		return false;
	for (int i = 0; i < pipeline->fields_n; i++)
		columns->names[columns->n++] = pipeline->fields[i].name;
	if (pipeline->into.n > 0 && !names_have(columns, pipeline->into))
		columns->names[columns->n++] = pipeline->into;
	if (pipeline->into_probability.n > 0 && !names_have(columns, pipeline->into_probability))
		columns->names[columns->n++] = pipeline->into_probability;
	for (size_t i = 0; pipeline->others == PIPELINE_KEEP && i < shape->names_n; i++) {
		if (is_a_field(pipeline, shape->names[i]) || names_have(columns, shape->names[i]))
			continue;
		if (!(columns->names[columns->n] = arena_dup(arena, shape->names[i])).p)
			return false;
		columns->n++;
	}
	return true;
}

static void put_header(struct outputs *outputs)
{
	for (size_t i = 0; i < outputs->columns.n; i++) {
		if (i > 0)
			buf_char(&outputs->text, ',');
		csv_put_cell(&outputs->text, outputs->columns.names[i], true);
	}
	buf_str(&outputs->text, STR("\r\n"));
}

static enum status file_fault(struct err *err)
{
	return err_set(err, STATUS_UNAVAILABLE, "A file in DATA_DIR/processed can't be written: %s.", strerror(errno));
}

enum status outputs_open(struct outputs *outputs, const struct config *config, const struct pipeline *pipeline,
			 const struct source_shape *shape, struct str source, const struct id *run, struct arena *arena,
			 struct err *err)
{
	char stem[STEM_BYTES], id[ID_TEXT_BYTES], name[STEM_BYTES + ID_TEXT_BYTES + 32], path[PIPELINE_PATH_BYTES];

	if (!(pipeline->to & (PIPELINE_TO_CSV | PIPELINE_TO_JSON_LINES)))
		return STATUS_OK;
	if (!find_columns(&outputs->columns, pipeline, shape, arena))
		return err_set(err, STATUS_NO_MEMORY, "no memory for a pipeline's files");
	stem_of(source, stem);
	id_format(run, id);
	for (int i = 0; i < OUTPUTS; i++) {
		if (!(pipeline->to & WANTED[i]))
			continue;
		snprintf(name, sizeof(name), "processed/%s-%s.%s", stem, id, ENDINGS[i]);
		if (!pipeline_path(config, str_of(name), path))
			return err_set(err, STATUS_INVALID, "DATA_DIR is too long.");
		outputs->fd[i] = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0660);
		if (outputs->fd[i] < 0 || ftruncate(outputs->fd[i], outputs->length[i]) != 0)
			return file_fault(err);
		outputs->end[i] = outputs->length[i];
	}
	return STATUS_OK;
}

static enum status write_all(int fd, struct str text, int64_t at, struct err *err)
{
	while (text.n > 0) {
		ssize_t n = pwrite(fd, text.p, text.n, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return file_fault(err);
		text.p += n;
		text.n -= (size_t)n;
		at += n;
	}
	return STATUS_OK;
}

/* Behind what is recorded; a longer text that stood there is cut off. */
static enum status replace_end(struct outputs *outputs, int o, struct str text, struct err *err)
{
	int64_t at = outputs->length[o], end = at + (int64_t)text.n;
	bool is_longer = outputs->end[o] > end;

	if (text.n == 0 && !is_longer)
		return STATUS_OK;
	outputs->end[o] = INT64_MAX; /* nobody knows, if this fails */
	enum status status = write_all(outputs->fd[o], text, at, err);
	if (status != STATUS_OK)
		return status;
	if (is_longer ? ftruncate(outputs->fd[o], end) != 0 || fsync(outputs->fd[o]) != 0
		      : fdatasync(outputs->fd[o]) != 0)
		return file_fault(err);
	outputs->end[o] = end;
	return STATUS_OK;
}

enum status outputs_write(struct outputs *outputs, const struct record_row *rows, const bool *wanted, size_t n,
			  int64_t lengths[static OUTPUTS], struct err *err)
{
	for (int o = 0; o < OUTPUTS; o++) {
		lengths[o] = outputs->length[o];
		if (outputs->fd[o] < 0)
			continue;
		outputs->text.n = 0;
		if (o == OUTPUT_CSV && outputs->length[o] == 0)
			put_header(outputs);
		for (size_t i = 0; i < n; i++) {
			if (!wanted[i])
				continue;
			if (o == OUTPUT_CSV) {
				csv_put_members(&outputs->text, rows[i].data, outputs->columns.names,
						outputs->columns.n, outputs->columns.cells, &outputs->arena);
			} else {
				buf_str(&outputs->text, rows[i].data);
				buf_char(&outputs->text, '\n');
			}
		}
		if (outputs->text.failed)
			return err_set(err, STATUS_NO_MEMORY, "no memory for a pipeline's files");
		enum status status = replace_end(outputs, o, buf_view(&outputs->text), err);
		if (status != STATUS_OK)
			return status;
		lengths[o] += (int64_t)outputs->text.n;
	}
	return STATUS_OK;
}

void outputs_cut(struct outputs *outputs)
{
	for (int i = 0; i < OUTPUTS; i++)
		if (outputs->fd[i] >= 0 && outputs->end[i] > outputs->length[i] &&
		    ftruncate(outputs->fd[i], outputs->length[i]) == 0)
			outputs->end[i] = outputs->length[i];
}

void outputs_close(struct outputs *outputs)
{
	for (int i = 0; i < OUTPUTS; i++)
		if (outputs->fd[i] >= 0)
			close(outputs->fd[i]);
	buf_release(&outputs->text);
	arena_release(&outputs->arena);
	outputs_init(outputs);
}

/* --- the archive --- */

/* "archive/a.csv", or with the run's identifier "archive/a-<id>.csv"; relative to DATA_DIR. False: too long. */
static bool name_archived(const struct run_row *run, bool with_id, char out[static PIPELINE_PATH_BYTES])
{
	struct str name = base_of(run->source.n > 0 ? run->source : run->path);
	char id[ID_TEXT_BYTES];
	size_t ending;
	int n;

	if (name.n == 0 || name.n > NAME_MOST || name.p[0] == '.' || memchr(name.p, '\0', name.n))
		name = base_of(run->path);
	ending = ending_of(name);
	id_format(&run->id, id);
	if (with_id)
		n = snprintf(out, PIPELINE_PATH_BYTES, "archive/%.*s-%s%.*s", (int)ending, name.p, id,
			     (int)(name.n - ending), name.p + ending);
	else
		n = snprintf(out, PIPELINE_PATH_BYTES, "archive/%.*s", STR_ARG(name));
	return n > 0 && n < PIPELINE_PATH_BYTES;
}

static void sync_folder_of(const char *path)
{
	char folder[PIPELINE_PATH_BYTES];

	snprintf(folder, sizeof(folder), "%s", path);
	char *slash = strrchr(folder, '/');
	if (slash)
		*slash = '\0';
	int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

bool pipeline_archive(const struct config *config, const struct run_row *run, const struct stat *was,
		      char now[static PIPELINE_PATH_BYTES])
{
	char from[PIPELINE_PATH_BYTES], to[PIPELINE_PATH_BYTES];
	struct stat st;
	int rc = -1;

	snprintf(now, PIPELINE_PATH_BYTES, "%.*s", STR_ARG(run->path));
	if (!pipeline_path(config, run->path, from))
		return false;
	if (lstat(from, &st) != 0 || st.st_ino != was->st_ino || st.st_dev != was->st_dev) {
		log_event(LOG_LEVEL_WARNING, "%.200s is not moved to the archive: it is another file by now", from);
		return true; /* what lies there is a source of its own */
	}
	for (int with_id = 0; with_id < 2 && rc != 0; with_id++) {
		if (!name_archived(run, with_id > 0, now) || !pipeline_path(config, str_of(now), to))
			break;
		rc = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
		if (rc != 0 && errno != EEXIST)
			break;
	}
	if (rc != 0) {
		log_event(LOG_LEVEL_ERROR, "%.200s can't be moved to the archive: %s", from, strerror(errno));
		snprintf(now, PIPELINE_PATH_BYTES, "%.*s", STR_ARG(run->path));
		return false;
	}
	/* The move is on the disk before the run is over, or else the file might be read again. */
	sync_folder_of(to);
	sync_folder_of(from);
	return true;
}

bool pipeline_find_archived(const struct config *config, const struct run_row *run,
			    char path[static PIPELINE_PATH_BYTES])
{
	char full[PIPELINE_PATH_BYTES];

	for (int with_id = 1; with_id >= 0; with_id--)
		if (name_archived(run, with_id > 0, path) && pipeline_path(config, str_of(path), full) &&
		    access(full, R_OK) == 0)
			return true;
	return false;
}
