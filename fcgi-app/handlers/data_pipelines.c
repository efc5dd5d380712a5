/* GET /api/v1/data/pipelines and …/{name}: the pipelines that there are, as their files say. One whose file is damaged
 * is told with what is wrong with it. */
#include "handlers/data.h"
#include "handlers/handlers.h"

#include "app.h"
#include "base/json.h"

enum { LISTED_MAX = 1000 };

static const char *const TYPES[PIPELINE_TYPE__MAX] = {
	[PIPELINE_ANY] = "any",         [PIPELINE_TEXT] = "text", [PIPELINE_NUMBER] = "number",
	[PIPELINE_INTEGER] = "integer", [PIPELINE_BOOL] = "bool", [PIPELINE_DATETIME] = "datetime",
	[PIPELINE_DATE] = "date",
};
static const char *const FORMATS[PIPELINE_FORMAT__MAX] = {
	[PIPELINE_CSV] = "csv", [PIPELINE_JSON_LINES] = "jsonl", [PIPELINE_JSON] = "json"};

static void put_fields(struct buf *out, const struct pipeline *pipeline)
{
	buf_str(out, STR(",\"fields\":["));
	for (int i = 0; i < pipeline->fields_n; i++) {
		const struct pipeline_field *field = &pipeline->fields[i];
		buf_str(out, i > 0 ? STR(",{\"name\":") : STR("{\"name\":"));
		json_put_string(out, field->name);
		buf_fmt(out, ",\"type\":\"%s\",\"required\":%s,\"indexed\":%s,\"searched\":%s}", TYPES[field->type],
			field->required ? "true" : "false", field->index ? "true" : "false",
			field->search ? "true" : "false");
	}
	buf_char(out, ']');
}

static void put_key(struct buf *out, const struct pipeline *pipeline)
{
	buf_str(out, STR(",\"key\":["));
	for (int i = 0; i < pipeline->key_n; i++) {
		buf_str(out, i > 0 ? STR(",") : STR(""));
		json_put_string(out, pipeline->fields[pipeline->key[i]].name);
	}
	buf_char(out, ']');
}

static void put_problems(struct buf *out, struct str text)
{
	bool first = true;

	buf_str(out, STR(",\"problems\":["));
	while (text.n > 0) {
		struct str line = str_cut(&text, '\n');
		if (line.n == 0)
			continue;
		buf_str(out, first ? STR("") : STR(","));
		json_put_string(out, line);
		first = false;
	}
	buf_char(out, ']');
}

/* STATUS_NOT_FOUND: there is none, and nothing was put. */
static enum status put_pipeline(struct request *req, struct str name, bool whole, struct buf *out)
{
	struct pipeline *pipeline = NULL;
	struct buf problems;
	struct err err = {0};

	buf_init(&problems, &req->arena);
	enum status status = data_load_pipeline(req, name, &pipeline, &problems, &err);
	if (status == STATUS_NOT_FOUND)
		return status;
	buf_str(out, STR("{\"name\":"));
	json_put_string(out, name);
	if (status == STATUS_OK) {
		buf_str(out, STR(",\"description\":"));
		json_put_string(out, pipeline->description);
		buf_fmt(out, ",\"format\":\"%s\",\"match\":", FORMATS[pipeline->source.format]);
		json_put_string(out, pipeline->source.match);
		put_fields(out, pipeline);
		put_key(out, pipeline);
		buf_str(out, STR(",\"model\":"));
		if (pipeline->model.n > 0)
			json_put_string(out, pipeline->model);
		else
			buf_str(out, STR("null"));
		buf_fmt(out, ",\"hash\":\"%s\"", pipeline->hash);
	} else if (problems.n == 0) {
		buf_str(&problems, str_of(err.text));
	}
	put_problems(out, buf_view(&problems));
	if (whole && status == STATUS_OK) {
		struct json_value root;
		struct json_fault fault;
		buf_str(out, STR(",\"definition\":"));
		if (json_check(pipeline->text, JSON_MAX_DEPTH, &root, &fault))
			json_put_value(out, root);
		else
			buf_str(out, STR("null"));
	}
	buf_char(out, '}');
	return STATUS_OK;
}

/* --- the list --- */

struct listing {
	struct request *req;
	int n;
};

static bool take_name(void *arg, struct str name)
{
	struct listing *listing = arg;
	struct buf *body = &listing->req->response.body;
	size_t before = body->n;

	if (listing->n > 0)
		buf_char(body, ',');
	if (put_pipeline(listing->req, name, false, body) == STATUS_OK)
		listing->n++;
	else
		body->n = before; /* it has gone meanwhile */
	return listing->n < LISTED_MAX && !body->failed;
}

static void list_slowly(struct request *req, struct db *db)
{
	struct listing listing = {.req = req};
	struct err err = {0};

	(void)db;
	req->response.status = 200;
	req->response.content_type = "application/json";
	buf_str(&req->response.body, STR("{\"pipelines\":["));
	enum status status = pipeline_each(req->app->config->pipelines_dir, take_name, &listing, &err);
	buf_str(&req->response.body, STR("]}"));
	/* A folder that is not there has none. */
	if (status != STATUS_OK && status != STATUS_NOT_FOUND)
		request_answer_error(req, status, &err);
	request_finish(req);
}

void data_get_pipelines(struct request *req)
{
	request_go_slow(req, req->app->lists, list_slowly);
}

/* --- one --- */

static void look_slowly(struct request *req, struct db *db)
{
	(void)db;
	req->response.status = 200;
	req->response.content_type = "application/json";
	if (put_pipeline(req, req->params[0], true, &req->response.body) != STATUS_OK)
		data_answer_no_pipeline(req, str_is_name(req->params[0]) ? req->params[0] : (struct str){0});
	request_finish(req);
}

void data_get_pipeline(struct request *req)
{
	request_go_slow(req, req->app->lists, look_slowly);
}
