/* Two looks before anything is deleted: at the server's clock, and at the newest row. */
#include "store/retention.h"

#include "base/clock.h"

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

/* By the index of created_at, of which retention's own rows are the other end. */
static enum status is_newest_before(struct db *db, const char *before, bool *is, struct err *err)
{
	static const char sql[] = "SELECT created_at < $1 FROM predictions ORDER BY created_at DESC LIMIT 1";
	struct stmt *stmt;
	bool row;

	*is = false;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(before));
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row)
		*is = db_column_i64(stmt, 0) != 0;
	db_reset(stmt);
	return status;
}

enum status retention_ask(struct db *db, int64_t wall_us, int64_t days, struct retention_time *out, struct err *err)
{
	char before[CLOCK_ISO_BYTES];
	enum status status = STATUS_OK;

	*out = (struct retention_time){.server_us = wall_us};
	if (db_is_remote(db))
		status = ask_server(db, &out->server_us, err);
	out->now_us = wall_us < out->server_us ? wall_us : out->server_us;
	out->apart = llabs((long long)(wall_us - out->server_us)) > APART_US;
	if (status != STATUS_OK || days <= 0)
		return status;
	clock_format_iso(out->now_us - days * DAY_US, before);
	return is_newest_before(db, before, &out->all_old, err);
}
