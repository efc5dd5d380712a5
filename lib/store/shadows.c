/* Table shadow_predictions. Its ids begin with those of the predictions, which begin with their time: the oldest rows
 * are the first of the key, and no other index is needed. */
#include "store/shadows.h"

#include "base/id.h"

enum status shadows_delete_before(struct db *db, int64_t before_ms, int max, int64_t *deleted, struct err *err)
{
	static const char sql[] = "DELETE FROM shadow_predictions WHERE id IN"
				  " (SELECT id FROM shadow_predictions WHERE id < $1 ORDER BY id LIMIT $2)";
	struct id id = {0};
	char text[ID_TEXT_BYTES];
	struct stmt *stmt;

	*deleted = 0;
	for (int i = 0; i < 6; i++)
		id.b[i] = (uint8_t)((uint64_t)(before_ms > 0 ? before_ms : 0) >> (40 - 8 * i));
	id_format(&id, text);
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(text));
	db_bind_i64(stmt, 2, max);
	return db_run(stmt, deleted, err);
}
