/* The model repository extension of the Open Inference Protocol V2 (Triton's extension_model_repository.md): POST
 * /v2/repository/index, and …/models/{name}/load and …/unload for keys with the scope "models".
 *
 * Load and unload change what the database says of all versions of the name; every worker of every machine follows
 * within a second. A load first loads each version on a slow thread, so that a broken one is refused with its reason
 * before anything has changed. Clients go on as soon as they have their answer, so it waits until this worker has
 * followed, and for that second, in which the others do. */
#include "app.h"
#include "base/json.h"
#include "handlers/handlers.h"
#include "model/folder.h"
#include "store/models.h"

enum { VERSIONS_MAX = MODEL_SET_VERSIONS_MAX, SETTLE_MS = 1000, PATIENCE_MS = 10 * 1000 };

struct repository {
	struct store_op op; /* first: the store hands it back */
	struct request *req;
	struct str name;
	bool load;                       /* else unload */
	bool only_ready;                 /* index */
	struct models_version *versions; /* VERSIONS_MAX of them: those of the name, or (index) all */
	int n;
	struct app_waiting waiting;
	uint64_t changed_ms; /* 0: not known yet */
};

static struct repository *begin(struct request *req)
{
	struct repository *repository = arena_zalloc(&req->arena, sizeof(*repository));

	if (repository)
		repository->versions = arena_alloc(&req->arena, VERSIONS_MAX * sizeof(struct models_version));
	if (!repository || !repository->versions) {
		struct err err;
		request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
		request_finish(req);
		return NULL;
	}
	repository->req = req;
	repository->name = req->params[0];
	return repository;
}

/* An empty body, or a JSON object. False: answered. */
static bool read_body(struct request *req, struct json_value *root)
{
	struct json_fault fault;

	*root = (struct json_value){0};
	if (str_trim(req->body).n == 0 ||
	    (json_check(req->body, JSON_MAX_DEPTH, root, &fault) && root->type == JSON_OBJECT))
		return true;
	request_answer_detail(req, 400, STR("The request must be empty or a JSON object."));
	request_finish(req);
	return false;
}

/* --- reading the table --- */

static bool take_version(void *arg, const struct models_version *version)
{
	struct repository *repository = arg;

	if (repository->name.n == 0 || str_eq(repository->name, str_of(version->name)))
		repository->versions[repository->n++] = *version;
	return repository->n < VERSIONS_MAX;
}

static enum status read_versions(struct db *db, struct store_op *op, struct err *err)
{
	struct repository *repository = (struct repository *)(void *)op;

	repository->n = 0;
	return models_each(db, take_version, repository, err);
}

static void submit_read(struct mail *mail)
{
	struct request *req = (struct request *)(void *)((char *)mail - offsetof(struct request, mail));
	struct repository *repository = req->state;

	req->slow = false;
	store_read(req->app->store, &repository->op);
}

/* Reads are submitted on the event thread; a body that was late has brought the request to a slow one. */
static void read_table(struct repository *repository, void (*done)(struct store_op *op))
{
	struct request *req = repository->req;

	repository->op = (struct store_op){
		.run = read_versions, .done = done, .identity = req->edge.random, .fresh = true};
	req->state = repository;
	req->mail = (struct mail){.open = submit_read};
	if (req->slow)
		mailbox_send(req->app->mailbox, &req->mail);
	else
		submit_read(&req->mail);
}

static void fail(struct repository *repository)
{
	request_answer_error(repository->req, repository->op.status, &repository->op.err);
	request_finish(repository->req);
}

/* --- index --- */

static void put_entry(struct buf *out, const char *name, const char *version, bool ready, const char *reason)
{
	if (out->n > 1)
		buf_char(out, ',');
	buf_str(out, STR("{\"name\":"));
	json_put_string(out, str_of(name));
	buf_str(out, STR(",\"version\":"));
	json_put_string(out, str_of(version));
	buf_str(out,
		ready ? STR(",\"state\":\"READY\",\"reason\":\"") : STR(",\"state\":\"UNAVAILABLE\",\"reason\":\""));
	buf_str(out, str_of(reason));
	buf_str(out, STR("\"}"));
}

/* Those that are served, then those that the table has beside them. */
static void index_read(struct store_op *op)
{
	struct repository *repository = (struct repository *)(void *)op;
	struct request *req = repository->req;
	struct buf *body = &req->response.body;
	const struct model_version *served;

	if (op->status != STATUS_OK) {
		fail(repository);
		return;
	}
	buf_char(body, '[');
	for (int i = 0; (served = model_set_version_at(req->models, i)); i++)
		put_entry(body, served->model->name, served->model->version, true, "");
	for (int i = 0; i < repository->n && !repository->only_ready; i++) {
		const struct models_version *version = &repository->versions[i];
		if (!model_set_find(req->models, str_of(version->name), str_of(version->version)))
			put_entry(body, version->name, version->version, false,
				  version->loaded ? "not loaded yet, or it can't be: the log says why" : "unloaded");
	}
	buf_char(body, ']');
	req->response.status = 200;
	req->response.content_type = "application/json";
	request_finish(req);
}

void repository_post_index(struct request *req)
{
	struct json_value root, ready;
	struct repository *repository;

	if (!read_body(req, &root) || !(repository = begin(req)))
		return;
	repository->only_ready = json_member(root, STR("ready"), &ready) && ready.type == JSON_TRUE;
	read_table(repository, index_read);
}

/* --- load and unload --- */

static enum status set_loaded(struct db *db, struct store_op *op, struct err *err)
{
	struct repository *repository = (struct repository *)(void *)op;

	return models_set_loaded(db, repository->name, (struct str){0}, repository->load, err);
}

/* This worker serves what it should. */
static bool has_followed(const struct repository *repository)
{
	const struct app *app = repository->req->app;

	for (int i = 0; i < repository->n; i++) {
		struct str version = str_of(repository->versions[i].version);
		if ((model_set_find(app->models, repository->name, version) != NULL) != repository->load)
			return false;
	}
	return true;
}

static bool look(struct app_waiting *waiting, uint64_t now_ms)
{
	struct repository *repository = (struct repository *)(void *)((char *)waiting -
								      offsetof(struct repository, waiting));
	struct request *req = repository->req;

	if (repository->changed_ms == 0)
		repository->changed_ms = now_ms;
	uint64_t ms = now_ms - repository->changed_ms;
	bool followed = has_followed(repository);
	if (!req->app->draining && (ms < SETTLE_MS || (!followed && ms < PATIENCE_MS)))
		return false;
	if (followed || req->app->draining) {
		req->response.status = 200;
		req->response.content_type = "application/json";
		buf_str(&req->response.body, STR("{}"));
	} else {
		request_refuse(req,
			       STR("This is written down, but the worker has not followed in time. Its log says why."));
	}
	request_finish(req);
	return true;
}

static void loaded_set(struct store_op *op)
{
	struct repository *repository = (struct repository *)(void *)op;

	repository->req->slow = false;
	if (op->status != STATUS_OK) {
		fail(repository);
		return;
	}
	repository->waiting.look = look;
	app_wait(repository->req->app, &repository->waiting);
}

static void change(struct repository *repository)
{
	struct request *req = repository->req;

	repository->op = (struct store_op){.run = set_loaded, .done = loaded_set};
	if (request_write(req, &repository->op))
		return; /* the request is the commit thread's now */
	request_finish(req);
}

/* Slow thread: each version as every worker will load it. */
static void try_versions(struct request *req, struct db *db)
{
	struct repository *repository = req->state;
	enum status status = STATUS_OK;
	struct model *model = NULL;
	struct err err = {0}, named;

	(void)db;
	for (int i = 0; status == STATUS_OK && i < repository->n; i++) {
		const struct models_version *version = &repository->versions[i];
		if (model_set_find(req->models, repository->name, str_of(version->version)))
			continue;
		status = folder_load(&model, req->app->config->models_dir, repository->name, str_of(version->version),
				     str_of(version->hash), &err);
		if (status == STATUS_OK)
			model_drop(model);
		else
			err_set(&named, status, "failed to load '%s' version %s: %s", version->name, version->version,
				err.text);
	}
	if (status == STATUS_OK) {
		change(repository);
		return;
	}
	/* What is wrong with the machine is for its log. */
	if (status == STATUS_INVALID || status == STATUS_NOT_FOUND || status == STATUS_CONFLICT)
		request_answer_detail(req, 400, str_of(named.text));
	else
		request_answer_error(req, status, &named);
	request_finish(req);
}

static void versions_read(struct store_op *op)
{
	struct repository *repository = (struct repository *)(void *)op;
	struct request *req = repository->req;
	struct err err;

	if (op->status != STATUS_OK) {
		fail(repository);
		return;
	}
	if (repository->n == 0) {
		request_answer_error(req,
				     err_set(&err, STATUS_NOT_FOUND, "There is no model %.*s in the repository.",
					     STR_ARG(repository->name)),
				     &err);
		request_finish(req);
		return;
	}
	if (repository->load)
		request_go_slow(req, req->app->slow, try_versions);
	else
		change(repository);
}

static void post(struct request *req, bool load)
{
	struct json_value root, parameters, value;
	struct repository *repository;

	if (!read_body(req, &root))
		return;
	if (load && json_member(root, STR("parameters"), &parameters) &&
	    json_member(parameters, STR("config"), &value)) {
		request_answer_detail(req, 400, STR("A model is loaded as it was added: config is not supported."));
		request_finish(req);
		return;
	}
	repository = begin(req);
	if (!repository)
		return;
	repository->load = load;
	read_table(repository, versions_read);
}

void repository_post_load(struct request *req)
{
	post(req, true);
}

void repository_post_unload(struct request *req)
{
	post(req, false);
}
