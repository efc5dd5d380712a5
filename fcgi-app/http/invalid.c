/* Violations in FastAPI's shape. */
#include "http/invalid.h"

enum { INPUT_MAX = 64 * 1024, INPUT_SHOWN = 200, INPUT_LARGE = 1 << 20 };

void invalid_init(struct invalid *invalid, struct request *req)
{
	invalid->n = 0;
	buf_init(&invalid->body, &req->arena);
	buf_str(&invalid->body, STR("{\"detail\":["));
}

static void put_member(struct buf *out, const char *name, struct str text)
{
	buf_str(out, STR(",\""));
	buf_str(out, str_of(name));
	buf_str(out, STR("\":"));
	buf_str(out, text);
}

void invalid_add(struct invalid *invalid, const struct violation *violation)
{
	struct buf *out = &invalid->body;

	if (invalid->n++ >= INVALID_LISTED)
		return;
	buf_str(out, invalid->n > 1 ? STR(",{\"type\":") : STR("{\"type\":"));
	json_put_string(out, str_of(violation->type));
	buf_str(out, STR(",\"loc\":["));
	json_put_string(out, str_of(violation->where));
	if (violation->field) {
		buf_char(out, ',');
		json_put_string(out, str_of(violation->field));
	}
	if (violation->path.n > 0) {
		buf_char(out, ',');
		buf_str(out, violation->path);
	}
	if (violation->index >= 0) {
		buf_char(out, ',');
		json_put_i64(out, violation->index);
	}
	buf_str(out, STR("],\"msg\":"));
	json_put_string(out, str_of(violation->msg));
	if (violation->input.n > INPUT_MAX) {
		buf_str(out, STR(",\"input\":"));
		json_put_string(out, (struct str){violation->input.p, INPUT_SHOWN});
	} else {
		put_member(out, "input", violation->input);
	}
	if (violation->ctx.n > 0)
		put_member(out, "ctx", violation->ctx);
	buf_char(out, '}');
}

void invalid_answer(struct invalid *invalid, struct request *req)
{
	buf_str(&invalid->body, STR("]}"));
	req->response.status = 422;
	req->response.content_type = "application/json";
	req->response.body = invalid->body;
}

void invalid_answer_one(struct request *req, const struct violation *violation)
{
	struct invalid invalid;

	invalid_init(&invalid, req);
	invalid_add(&invalid, violation);
	invalid_answer(&invalid, req);
}

struct str invalid_input_value(struct request *req, struct json_value value)
{
	struct buf out;

	/* Nobody is shown so much, and it is not written down for its start. */
	if (value.text.n > INPUT_LARGE)
		return invalid_input_text(req, (struct str){value.text.p, INPUT_SHOWN});
	buf_init(&out, &req->arena);
	json_put_value(&out, value);
	return buf_view(&out);
}

struct str invalid_input_text(struct request *req, struct str text)
{
	struct buf out;

	buf_init(&out, &req->arena);
	json_put_string(&out, text);
	return buf_view(&out);
}
