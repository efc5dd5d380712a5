/* Downloads of uploads, by nginx: whole or in ranges, at its own speed, in no memory of ours.
 *
 *   GET /files/{file_id}/download, also below /api/v1
 *
 * An upload that a run has read lies in the archive. */
#include "handlers/files.h"

#include "app.h"
#include "handlers/data.h"
#include "handlers/handlers.h"
#include "handlers/uploads.h"
#include "store/runs.h"
#include "task/upload.h"

#include <stdio.h>
#include <sys/stat.h>

/* --- shared --- */

/* Of RFC 8187's attr-char and a URI's unreserved ones those that are in both. */
static bool is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
	       c == '_';
}

static void put_escaped(struct buf *out, struct str text, bool is_path)
{
	for (size_t i = 0; i < text.n; i++)
		if (is_plain(text.p[i]) || (is_path && text.p[i] == '/'))
			buf_char(out, text.p[i]);
		else
			buf_fmt(out, "%%%02X", (unsigned)(unsigned char)text.p[i]);
}

void files_answer(struct request *req, struct str path, struct str name, const char *type)
{
	struct buf target, disposition;

	buf_init(&target, &req->arena);
	buf_init(&disposition, &req->arena);
	buf_str(&target, STR("/.appcore/files/"));
	put_escaped(&target, path, true);
	buf_str(&disposition, STR("attachment; filename=\""));
	for (size_t i = 0; i < name.n; i++)
		buf_char(&disposition, is_plain(name.p[i]) || name.p[i] == ' ' ? name.p[i] : '_');
	buf_str(&disposition, STR("\"; filename*=UTF-8''"));
	put_escaped(&disposition, name, false);
	if (target.failed || disposition.failed) {
		request_answer_detail(req, 503, STR("Out of memory for this request."));
		return;
	}
	req->response.status = 200;
	req->response.content_type = type;
	response_header(&req->response, "X-Accel-Redirect", buf_view(&target));
	response_header(&req->response, "Content-Disposition", buf_view(&disposition));
}

/* --- uploads --- */

static bool is_there(const struct config *config, struct str path)
{
	char full[UPLOAD_PATH_BYTES];
	struct stat st;
	int n = snprintf(full, sizeof(full), "%s/%.*s", config->data_dir, STR_ARG(path));

	return n > 0 && (size_t)n < sizeof(full) && lstat(full, &st) == 0 && S_ISREG(st.st_mode);
}

/* Where it is now, in DATA_DIR; p is NULL: it is gone. */
static struct str find_file(struct request *req, struct db *db, const struct upload_row *row,
			    char path[static UPLOAD_PATH_BYTES])
{
	struct str at = upload_path(row, path);
	struct run_row run;
	struct id id;

	if (is_there(req->app->config, at))
		return at;
	if (row->run_id.n == 0 || !id_parse(row->run_id, &id) ||
	    runs_find(db, &id, &req->arena, &run, NULL) != STATUS_OK || !str_starts(run.path, STR("archive/")) ||
	    !is_there(req->app->config, run.path))
		return (struct str){0};
	return run.path;
}

static void download(struct request *req, struct db *thread_db)
{
	char path[UPLOAD_PATH_BYTES];
	struct upload_row row;
	struct err err = {0};
	struct id id;

	struct db *db = data_connect(req, thread_db);
	if (db) {
		enum status status = id_parse(req->params[0], &id)
					     ? uploads_find_own(db, req, &id, &req->arena, &row, &err)
					     : STATUS_NOT_FOUND;
		struct str at = {0};
		if (status == STATUS_OK && upload_is_complete(&row))
			at = find_file(req, db, &row, path);
		if (status == STATUS_NOT_FOUND || (status == STATUS_OK && !at.p && upload_is_complete(&row)))
			request_answer_detail(req, 404, STR("File not found"));
		else if (status != STATUS_OK)
			request_answer_error(req, status, &err);
		else if (!at.p)
			request_answer_detail(req, 409, STR("The upload is not complete."));
		else
			files_answer(req, at, row.name, "application/octet-stream");
	}
	request_finish(req);
}

void files_get_download(struct request *req)
{
	request_go_slow(req, req->app->lists, download);
}
