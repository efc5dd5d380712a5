/* The key's hash holds its caller and the path, so that a key means nothing to others and elsewhere. */
#include "handlers/idempotent.h"

#include "app.h"
#include "base/clock.h"
#include "http/invalid.h"
#include "store/idempotency.h"

#include <sodium.h>

enum { KEY_MAX = 255 };
static const int64_t TTL_US = INT64_C(24) * 3600 * 1000000;

static bool is_good(struct str key)
{
	bool good = key.n > 0 && key.n <= KEY_MAX;

	for (size_t i = 0; good && i < key.n; i++)
		good = key.p[i] >= 0x20 && key.p[i] < 0x7f && key.p[i] != '"' && key.p[i] != '\\';
	return good;
}

static void add_text(crypto_generichash_state *state, const char *p, size_t n)
{
	crypto_generichash_update(state, (const uint8_t *)p, n);
}

bool idempotent_read(struct idempotent *idem, struct request *req)
{
	static const char wanted[] = "Idempotency-Key should be 1 to 255 printable ASCII characters, bare or in quotes";
	struct str key = str_trim(req->idempotency_key);
	crypto_generichash_state state;

	*idem = (struct idempotent){.req = req};
	if (!req->idempotency_key.p)
		return true;
	if (key.n >= 2 && key.p[0] == '"' && key.p[key.n - 1] == '"')
		key = (struct str){key.p + 1, key.n - 2};
	if (!is_good(key) && request_is_inference(req)) {
		request_answer_detail(req, 400, STR(wanted));
		return false;
	}
	if (!is_good(key)) {
		invalid_answer_one(req, &(struct violation){.type = "idempotency_key",
							    .msg = wanted,
							    .where = "header",
							    .field = "Idempotency-Key",
							    .index = -1,
							    .input = invalid_input_text(req, req->idempotency_key)});
		return false;
	}
	crypto_generichash_init(&state, NULL, 0, sizeof(idem->key_hash));
	add_text(&state, req->caller.key_id, strlen(req->caller.key_id) + 1);
	if (req->caller.user_id != 0)
		crypto_generichash_update(&state, (const uint8_t *)&req->caller.user_id, sizeof(req->caller.user_id));
	add_text(&state, req->path.p, req->path.n);
	add_text(&state, "", 1);
	add_text(&state, key.p, key.n);
	crypto_generichash_final(&state, idem->key_hash, sizeof(idem->key_hash));
	/* What comes before the tensors decides what the body means. */
	crypto_generichash_init(&state, NULL, 0, sizeof(idem->fingerprint));
	if (req->tensors_offset_text.p)
		add_text(&state, req->tensors_offset_text.p, req->tensors_offset_text.n);
	add_text(&state, req->body.p, req->body.n);
	crypto_generichash_final(&state, idem->fingerprint, sizeof(idem->fingerprint));
	idem->keyed = true;
	return true;
}

bool idempotent_claim(struct idempotent *idem)
{
	struct request *req = idem->req;

	if (!idem->keyed)
		return true;
	switch (shm_running_claim(req->app->shm, idem->key_hash, req->edge.random)) {
	case SHM_RUNNING_CLAIMED:
		return true;
	case SHM_RUNNING_ELSEWHERE:
		app_count_idempotency(req->app, APP_IDEM_RUNNING);
		request_answer_detail(req, 409, STR("A request with this Idempotency-Key is still running."));
		return false;
	case SHM_RUNNING_FULL:
		break;
	}
	request_refuse(req, STR("Too many requests with an Idempotency-Key at once. Try again later."));
	return false;
}

void idempotent_release(struct idempotent *idem)
{
	if (idem->keyed)
		shm_running_release(idem->req->app->shm, idem->key_hash, idem->req->edge.random);
}

static void take_stored(void *arg, const struct idempotency_record *record)
{
	struct idempotent *idem = arg;
	struct response *response = &idem->req->response;

	if (memcmp(record->fingerprint, idem->fingerprint, sizeof(idem->fingerprint)) != 0) {
		idem->outcome = IDEMPOTENT_MISMATCH;
		return;
	}
	idem->outcome = IDEMPOTENT_REPLAYED;
	response->status = record->http_status;
	buf_init(&response->body, &idem->req->arena); /* the write may run again and want its own */
	buf_str(&response->body, record->body);
}

enum status idempotent_find(struct idempotent *idem, struct db *db, bool *found, struct err *err)
{
	*found = false;
	idem->outcome = IDEMPOTENT_STORED;
	if (!idem->keyed)
		return STATUS_OK;
	return idempotency_find(db, idem->key_hash, clock_wall_us(), found, take_stored, idem, err);
}

enum status idempotent_save(struct idempotent *idem, struct db *db, bool wrote, struct err *err)
{
	int64_t now_us = clock_wall_us();
	const struct response *response = &idem->req->response;
	struct idempotency_record record = {.http_status = response->status, .expires_us = now_us + TTL_US};
	bool found;

	if (!idem->keyed)
		return STATUS_OK;
	memcpy(record.key_hash, idem->key_hash, sizeof(record.key_hash));
	memcpy(record.fingerprint, idem->fingerprint, sizeof(record.fingerprint));
	record.body = buf_view(&response->body);
	enum status status = idempotency_save(db, &record, now_us, err);
	if (status != STATUS_CONFLICT || wrote)
		return status;
	status = idempotent_find(idem, db, &found, err);
	if (status == STATUS_OK && !found)
		status = err_set(err, STATUS_CONFLICT, "the Idempotency-Key was taken and is gone");
	return status;
}

void idempotent_settle(struct idempotent *idem)
{
	struct app *app = idem->req->app;

	if (!idem->keyed)
		return;
	switch (idem->outcome) {
	case IDEMPOTENT_STORED:
		app_count_idempotency(app, APP_IDEM_STORED);
		break;
	case IDEMPOTENT_REPLAYED:
		app_count_idempotency(app, APP_IDEM_REPLAYED);
		response_header(&idem->req->response, "Idempotency-Replayed", STR("true"));
		break;
	case IDEMPOTENT_MISMATCH:
		app_count_idempotency(app, APP_IDEM_MISMATCH);
		request_answer_detail(idem->req, 422, STR("This Idempotency-Key was used with another request body."));
		break;
	}
}
