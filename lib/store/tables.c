/* The list of tables, and sums over their rows. */
#include "store/tables.h"

#include "base/id.h"

#include <endian.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

const struct table TABLES[] = {
	{
		.name = "generations",
		.n = 2,
		.columns = {{"topic", DB_TEXT}, {"value", DB_I64}},
	},
	{
		.name = "api_keys",
		.n = 9,
		.columns = {{"id", DB_TEXT},
			    {"name", DB_TEXT},
			    {"hash", DB_BLOB},
			    {"rate_per_minute", DB_I64},
			    {"created_us", DB_I64},
			    {"expires_us", DB_I64},
			    {"revoked_us", DB_I64},
			    {"scopes", DB_TEXT},
			    {"user_id", DB_I64}},
	},
	{
		.name = "users",
		.n = 12,
		.columns = {{"id", DB_I64},
			    {"email", DB_TEXT},
			    {"username", DB_TEXT},
			    {"hashed_password", DB_TEXT},
			    {"is_active", DB_I64},
			    {"is_superuser", DB_I64},
			    {"created_at", DB_TEXT},
			    {"updated_at", DB_TEXT},
			    {"email_key", DB_TEXT},
			    {"username_key", DB_TEXT},
			    {"failed_logins", DB_I64},
			    {"locked_until_us", DB_I64}},
	},
	{
		.name = "sessions",
		.n = 9,
		.columns = {{"id", DB_TEXT},
			    {"user_id", DB_I64},
			    {"refresh_hash", DB_BLOB},
			    {"former_hash", DB_BLOB},
			    {"created_us", DB_I64},
			    {"renewed_us", DB_I64},
			    {"expires_us", DB_I64},
			    {"ended_us", DB_I64},
			    {"client", DB_TEXT}},
	},
	{
		.name = "background_tasks",
		.n = 23,
		.columns = {{"task_id", DB_TEXT},       {"user_id", DB_I64},     {"task_type", DB_TEXT},
			    {"status", DB_TEXT},        {"payload", DB_TEXT},    {"result", DB_TEXT},
			    {"error_message", DB_TEXT}, {"created_at", DB_TEXT}, {"updated_at", DB_TEXT},
			    {"priority", DB_I64},       {"run_us", DB_I64},      {"lease_us", DB_I64},
			    {"claim", DB_I64},          {"attempts", DB_I64},    {"worker", DB_TEXT},
			    {"cancel", DB_I64},         {"done", DB_I64},        {"total", DB_I64},
			    {"expires_us", DB_I64},     {"change", DB_I64},      {"small", DB_I64},
			    {"turn", DB_I64},           {"bytes", DB_I64}},
	},
	{
		.name = "task_parts",
		.n = 3,
		.columns = {{"id", DB_TEXT}, {"data", DB_BLOB}, {"created_us", DB_I64}},
	},
	{
		.name = "task_schedules",
		.n = 3,
		.columns = {{"name", DB_TEXT}, {"expression", DB_TEXT}, {"next_us", DB_I64}},
	},
	{
		.name = "idempotency_keys",
		.n = 5,
		.columns = {{"key_hash", DB_BLOB},
			    {"fingerprint", DB_BLOB},
			    {"expires_us", DB_I64},
			    {"http_status", DB_I64},
			    {"body", DB_BLOB}},
	},
	{
		.name = "models",
		.n = 4,
		.columns = {{"id", DB_TEXT}, {"hash", DB_TEXT}, {"loaded", DB_I64}, {"added_us", DB_I64}},
	},
	{
		.name = "model_routes",
		.n = 6,
		.columns = {{"name", DB_TEXT},
			    {"shares", DB_TEXT},
			    {"sticky", DB_TEXT},
			    {"shadow", DB_TEXT},
			    {"former", DB_TEXT},
			    {"changed_us", DB_I64}},
	},
	{
		.name = "predictions",
		.grows = true,
		.in_weeks = true,
		.n = 14,
		.columns = {{"id", DB_TEXT},
			    {"features", DB_TEXT},
			    {"result", DB_DOUBLE},
			    {"model_version", DB_TEXT},
			    {"created_at", DB_TEXT},
			    {"model_name", DB_TEXT},
			    {"model_hash", DB_TEXT},
			    {"key_id", DB_TEXT},
			    {"request_id", DB_TEXT},
			    {"trace_id", DB_TEXT},
			    {"duration_us", DB_I64},
			    {"label", DB_TEXT},
			    {"probabilities", DB_TEXT},
			    {"flags", DB_TEXT}},
	},
	{
		.name = "shadow_predictions",
		.grows = true,
		.n = 12,
		.columns = {{"id", DB_TEXT},
			    {"model_version", DB_TEXT},
			    {"model_name", DB_TEXT},
			    {"model_hash", DB_TEXT},
			    {"result", DB_DOUBLE},
			    {"label", DB_TEXT},
			    {"probabilities", DB_TEXT},
			    {"active_version", DB_TEXT},
			    {"active_result", DB_DOUBLE},
			    {"active_label", DB_TEXT},
			    {"created_at", DB_TEXT},
			    {"duration_us", DB_I64}},
	},
	{
		.name = "sentiment_requests",
		.grows = true,
		.n = 10,
		.columns = {{"id", DB_TEXT},
			    {"user_id", DB_I64},
			    {"text", DB_TEXT},
			    {"sentiment", DB_TEXT},
			    {"confidence", DB_DOUBLE},
			    {"processing_time", DB_DOUBLE},
			    {"created_at", DB_TEXT},
			    {"model_version", DB_TEXT},
			    {"task_id", DB_TEXT},
			    {"position", DB_I64}},
	},
	{
		.name = "pipelines",
		.n = 3,
		.columns = {{"id", DB_I64}, {"name", DB_TEXT}, {"created_us", DB_I64}},
	},
	{
		.name = "data_runs",
		.n = 24,
		.columns = {{"number", DB_I64},     {"id", DB_TEXT},         {"pipeline_id", DB_I64},
			    {"user_id", DB_I64},    {"source", DB_TEXT},     {"path", DB_TEXT},
			    {"origin", DB_TEXT},    {"busy_key", DB_TEXT},   {"definition", DB_TEXT},
			    {"retry_of", DB_I64},   {"state", DB_TEXT},      {"position", DB_TEXT},
			    {"identity", DB_TEXT},  {"rows_read", DB_I64},   {"stored", DB_I64},
			    {"replaced", DB_I64},   {"skipped", DB_I64},     {"refused", DB_I64},
			    {"bytes_read", DB_I64}, {"bytes_total", DB_I64}, {"error", DB_TEXT},
			    {"created_us", DB_I64}, {"started_us", DB_I64},  {"ended_us", DB_I64}},
	},
	{
		.name = "data_records",
		.n = 11,
		.columns = {{"seq", DB_I64},
			    {"pipeline_id", DB_I64},
			    {"record_key", DB_TEXT},
			    {"run", DB_I64},
			    {"source", DB_TEXT},
			    {"status", DB_I64},
			    {"received_us", DB_I64},
			    {"processed_us", DB_I64},
			    {"seconds", DB_DOUBLE},
			    {"error", DB_TEXT},
			    {"data", DB_TEXT}},
	},
	{
		.name = "data_search",
		.n = 2,
		.columns = {{"rowid", DB_I64}, {"text", DB_TEXT}},
	},
	{
		.name = "data_refusals",
		.n = 8,
		.columns = {{"run", DB_I64},
			    {"n", DB_I64},
			    {"line", DB_I64},
			    {"record_key", DB_TEXT},
			    {"field", DB_TEXT},
			    {"value", DB_TEXT},
			    {"reason", DB_TEXT},
			    {"message", DB_TEXT}},
	},
	{
		.name = "data_uploads",
		.n = 10,
		.columns = {{"id", DB_TEXT},
			    {"user_id", DB_I64},
			    {"name", DB_TEXT},
			    {"pipeline", DB_TEXT},
			    {"bytes", DB_I64},
			    {"received", DB_I64},
			    {"sha256", DB_TEXT},
			    {"run_id", DB_TEXT},
			    {"created_us", DB_I64},
			    {"expires_us", DB_I64}},
	},
	{
		.name = "data_cursors",
		.n = 9,
		.columns = {{"pipeline_id", DB_I64},
			    {"source", DB_TEXT},
			    {"request", DB_TEXT},
			    {"etag", DB_TEXT},
			    {"last_modified", DB_TEXT},
			    {"since", DB_TEXT},
			    {"failures", DB_I64},
			    {"open_until_us", DB_I64},
			    {"updated_us", DB_I64}},
	},
};
const int TABLES_N = sizeof(TABLES) / sizeof(TABLES[0]);

void tables_read(const struct table *table, struct stmt *stmt, struct db_value *values)
{
	for (int c = 0; c < table->n; c++) {
		struct db_value *value = &values[c];
		value->type = table->columns[c].type;
		switch (value->type) {
		case DB_TEXT:
			value->bytes = db_column_text(stmt, c);
			value->null = !value->bytes.p && db_column_is_null(stmt, c);
			break;
		case DB_BLOB:
			value->bytes = db_column_blob(stmt, c);
			value->null = !value->bytes.p && db_column_is_null(stmt, c);
			break;
		case DB_I64:
			value->i64 = db_column_i64(stmt, c);
			value->null = value->i64 == 0 && db_column_is_null(stmt, c);
			break;
		case DB_DOUBLE:
			value->real = db_column_double(stmt, c);
			value->null = value->real == 0.0 && db_column_is_null(stmt, c);
			break;
		}
	}
}

/* --- sums --- */

/* The eight bytes that stand for a value that has no bytes of its own. SQLite keeps no sign of a zero. */
static uint64_t word_of(const struct db_value *value)
{
	double real = value->real == 0.0 ? 0.0 : value->real;
	uint64_t word = (uint64_t)value->i64;

	if (value->type == DB_DOUBLE)
		memcpy(&word, &real, sizeof(word));
	return word;
}

static size_t put(uint8_t *to, const void *p, size_t n)
{
	if (n > 0)
		memcpy(to, p, n);
	return n;
}

/* Each value as its length (all ones: NULL) and its bytes. Room: 16 bytes a column and those of its text. */
static size_t lay_out(const struct table *table, const struct db_value *values, uint8_t *out)
{
	size_t n = 0;

	for (int c = 0; c < table->n; c++) {
		const struct db_value *value = &values[c];
		bool is_bytes = value->type == DB_TEXT || value->type == DB_BLOB;
		uint64_t word = word_of(value);
		uint64_t length = value->null ? UINT64_MAX : is_bytes ? value->bytes.n : sizeof(word);
		n += put(out + n, &length, sizeof(length));
		if (!value->null)
			n += is_bytes ? put(out + n, value->bytes.p, value->bytes.n)
				      : put(out + n, &word, sizeof(word));
	}
	return n;
}

enum status tables_add(struct table_sum *sum, const struct table *table, const struct db_value *values, struct err *err)
{
	static const uint8_t key[crypto_shorthash_siphashx24_KEYBYTES] = "appcore tables";
	uint8_t small[1024] = {0}, hash[crypto_shorthash_siphashx24_BYTES], *row = small;
	size_t need = (size_t)table->n * 16;

	for (int c = 0; c < table->n; c++)
		if (values[c].type == DB_TEXT || values[c].type == DB_BLOB)
			need += values[c].bytes.n;
	if (need > sizeof(small))
		row = calloc(1, need);
	if (!row)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a row of %zu bytes", need);
	size_t n = lay_out(table, values, row);
	crypto_shorthash_siphashx24(hash, row, n, key);
	if (row != small)
		free(row);
	struct table_sum one = {.rows = 1};
	memcpy(&one.high, hash, sizeof(one.high));
	memcpy(&one.low, hash + sizeof(one.high), sizeof(one.low));
	tables_add_sum(sum, &one);
	return STATUS_OK;
}

void tables_add_sum(struct table_sum *sum, const struct table_sum *more)
{
	sum->rows += more->rows;
	sum->low += more->low;
	sum->high += more->high + (sum->low < more->low);
}

bool tables_equal(const struct table_sum *a, const struct table_sum *b)
{
	return a->rows == b->rows && a->high == b->high && a->low == b->low;
}

void tables_format_hash(const struct table_sum *sum, char out[static TABLE_HASH_BYTES])
{
	snprintf(out, TABLE_HASH_BYTES, "%016" PRIx64 "%016" PRIx64, sum->high, sum->low);
}

static bool parse_word(const char *p, uint64_t *out)
{
	uint8_t bytes[8];
	uint64_t word;

	if (!hex_parse((struct str){p, 16}, bytes, sizeof(bytes)))
		return false;
	memcpy(&word, bytes, sizeof(word));
	*out = be64toh(word);
	return true;
}

bool tables_parse_hash(struct str text, struct table_sum *sum)
{
	return text.n == 32 && parse_word(text.p, &sum->high) && parse_word(text.p + 16, &sum->low);
}

void tables_list_columns(const struct table *table, char *out, size_t size)
{
	size_t n = 0;

	out[0] = '\0';
	for (int c = 0; c < table->n && n < size; c++)
		n += (size_t)snprintf(out + n, size - n, c ? ", %s" : "%s", table->columns[c].name);
}
