/* Two looks before anything is deleted: at the server's clock, and at the newest row. */
#include "store/retention.h"

#include "base/clock.h"
#include "base/id.h"

#include <stdlib.h>

static const int64_t APART_US = INT64_C(3600) * 1000000, DAY_US = INT64_C(86400) * 1000000;

static enum status ask_server(struct db *db, int64_t *now_us, struct err *err)
{
	static const char sql[] = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
	struct stmt *stmt;
	bool row;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row)
		*now_us = db_column_i64(stmt, 0);
	db_reset(stmt);
	return status;
}

/* *is: there are rows, and the newest is that old. */
static enum status is_newest_before(struct db *db, const char *sql, const char *before, bool *there, bool *is,
				    struct err *err)
{
	struct stmt *stmt;

	*is = false;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(before));
	status = db_step(stmt, there, err);
	if (status == STATUS_OK && *there)
		*is = db_column_i64(stmt, 0) != 0;
	db_reset(stmt);
	return status;
}

/* The newest row of each table by its index of times, of which retention's own rows are the other end. One table whose
 * newest is recent tells that the clock is right. */
static enum status is_all_before(struct db *db, int64_t before_us, bool *is, struct err *err)
{
	static const char predictions[] = "SELECT CAST(created_at < $1 AS INTEGER) FROM predictions"
					  " ORDER BY created_at DESC LIMIT 1";
	static const char sentiments[] = "SELECT CAST(id < $1 AS INTEGER) FROM sentiment_requests"
					 " ORDER BY id DESC LIMIT 1";
	const struct edge_identity edge = {.ms = before_us > 0 ? before_us / 1000 : 0};
	const struct id least = id_of_edge(&edge);
	bool has_predictions = false, has_sentiments = false, old_predictions, old_sentiments;
	char before[CLOCK_ISO_BYTES], id[ID_TEXT_BYTES];

	*is = false;
	clock_format_iso(before_us, before);
	id_format(&least, id);
	enum status status = is_newest_before(db, predictions, before, &has_predictions, &old_predictions, err);
	if (status == STATUS_OK)
		status = is_newest_before(db, sentiments, id, &has_sentiments, &old_sentiments, err);
	if (status == STATUS_OK)
		*is = (has_predictions || has_sentiments) && (!has_predictions || old_predictions) &&
		      (!has_sentiments || old_sentiments);
	return status;
}

enum status retention_ask(struct db *db, int64_t wall_us, int64_t days, struct retention_time *out, struct err *err)
{
	enum status status = STATUS_OK;

	*out = (struct retention_time){.server_us = wall_us};
	if (db_is_remote(db))
		status = ask_server(db, &out->server_us, err);
	out->now_us = wall_us < out->server_us ? wall_us : out->server_us;
	out->apart = llabs((long long)(wall_us - out->server_us)) > APART_US;
	if (status != STATUS_OK || days <= 0)
		return status;
	return is_all_before(db, out->now_us - days * DAY_US, &out->all_old, err);
}
