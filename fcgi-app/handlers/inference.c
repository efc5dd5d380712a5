/* What the Open Inference Protocol V2 asks about a server and its models: GET /v2, /v2/health/…, /v2/models/{name}
 * [/versions/{version}] and …/ready. Every answer below /v2 that is no success is {"error": "…"}. */
#include "app.h"
#include "base/json.h"
#include "base/version.h"
#include "handlers/batch.h"
#include "handlers/handlers.h"

#include <stdio.h>

static void answer(struct request *req)
{
	req->response.status = 200;
	req->response.content_type = "application/json";
	request_finish(req);
}

/* --- the server --- */

void inference_get_server(struct request *req)
{
	buf_str(&req->response.body, STR("{\"name\":\"appcore\",\"version\":\"" APPCORE_VERSION
					 "\",\"extensions\":[\"binary_tensor_data\",\"model_repository\"]}"));
	answer(req);
}

void inference_get_live(struct request *req)
{
	buf_str(&req->response.body, STR("{\"live\":true}"));
	answer(req);
}

/* "live" is what the specification's schema calls it, "ready" what its text does. */
void inference_get_ready(struct request *req)
{
	if (!health_is_ready(req->app)) {
		request_refuse(req, STR("The service is not ready: its store or its default model can't be used now."));
		request_finish(req);
		return;
	}
	buf_str(&req->response.body, STR("{\"live\":true,\"ready\":true}"));
	answer(req);
}

/* --- a model --- */

static void put_tensor(struct buf *out, bool first, struct str name, const char *datatype, const char *shape)
{
	if (!first)
		buf_char(out, ',');
	buf_str(out, STR("{\"name\":"));
	json_put_string(out, name);
	buf_fmt(out, ",\"datatype\":\"%s\",\"shape\":%s}", datatype, shape);
}

static void put_inputs(struct buf *out, const struct model *model)
{
	static const char *const datatypes[] = {[MANIFEST_NUMBER] = "FP64",
						[MANIFEST_INTEGER] = "INT64",
						[MANIFEST_CATEGORY] = "BYTES",
						[MANIFEST_TEXT] = "BYTES"};
	const struct manifest *manifest = model->manifest;

	if (!manifest)
		put_tensor(out, true, STR("features"), "FP64", "[-1,-1]");
	for (int i = 0; manifest && i < manifest->inputs_n; i++)
		put_tensor(out, i == 0, manifest->inputs[i].name, datatypes[manifest->inputs[i].type], "[-1,1]");
}

static void put_outputs(struct buf *out, const struct model *model)
{
	char shape[32];

	put_tensor(out, true, STR("result"), "FP64", "[-1]");
	if (model->classes_n == 0)
		return;
	snprintf(shape, sizeof(shape), "[-1,%d]", model->classes_n);
	put_tensor(out, false, STR("label"), "BYTES", "[-1]");
	put_tensor(out, false, STR("probabilities"), "FP64", shape);
}

static void put_versions(struct buf *out, const struct model_set *set, struct str name)
{
	const struct model_version *version;
	bool first = true;

	for (int i = 0; (version = model_set_version_at(set, i)); i++) {
		if (!str_eq(str_of(version->model->name), name))
			continue;
		if (!first)
			buf_char(out, ',');
		first = false;
		json_put_string(out, str_of(version->model->version));
	}
}

void inference_get_model(struct request *req)
{
	const struct model_version *version = batch_version(req, req->params[0], req->params[1]);
	struct buf *body = &req->response.body;

	if (!version) {
		request_finish(req);
		return;
	}
	const struct model *model = version->model;
	buf_str(body, STR("{\"name\":"));
	json_put_string(body, str_of(model->name));
	buf_str(body, STR(",\"versions\":["));
	put_versions(body, req->models, str_of(model->name));
	buf_str(body, STR("],\"platform\":\"appcore_"));
	buf_str(body, model->manifest ? model->manifest->kind : STR("builtin"));
	buf_str(body, STR("\",\"inputs\":["));
	put_inputs(body, model);
	buf_str(body, STR("],\"outputs\":["));
	put_outputs(body, model);
	buf_str(body, STR("]}"));
	answer(req);
}

void inference_get_model_ready(struct request *req)
{
	const struct model_version *version = batch_version(req, req->params[0], req->params[1]);
	struct buf *body = &req->response.body;

	if (version && model_is_healthy(version->model)) {
		buf_str(body, STR("{\"name\":"));
		json_put_string(body, str_of(version->model->name));
		buf_str(body, STR(",\"ready\":true}"));
		answer(req);
		return;
	}
	if (version)
		request_refuse(req, STR("The model is not healthy."));
	request_finish(req);
}
