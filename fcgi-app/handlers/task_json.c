/* The members that /api/v1/sentiment/task/{task_id} has too are called as there. */
#include "handlers/task_json.h"

#include "base/json.h"

static void put_text(struct buf *out, struct str name, struct str text)
{
	buf_str(out, name);
	if (text.p)
		json_put_string(out, text);
	else
		buf_str(out, STR("null"));
}

static void put_number(struct buf *out, struct str name, int64_t value)
{
	buf_str(out, name);
	json_put_i64(out, value);
}

/* What is stored is JSON. */
static void put_json(struct buf *out, struct str name, struct str json)
{
	buf_str(out, name);
	buf_str(out, json.n > 0 ? json : STR("null"));
}

static void put_members(struct buf *out, const struct task_row *row)
{
	char id[ID_TEXT_BYTES], run_at[TASK_TIME_BYTES];

	id_format(&row->id, id);
	put_text(out, STR("{\"task_id\":"), str_of(id));
	put_text(out, STR(",\"kind\":"), str_of(row->kind));
	put_text(out, STR(",\"status\":"), str_of(task_status_name(row->status)));
	put_number(out, STR(",\"done\":"), row->done);
	put_number(out, STR(",\"total\":"), row->total);
	put_text(out, STR(",\"error_message\":"), row->error);
	put_number(out, STR(",\"attempts\":"), row->attempts);
	buf_str(out, STR(",\"cancel_requested\":"));
	buf_str(out, row->cancel ? STR("true") : STR("false"));
	put_number(out, STR(",\"priority\":"), row->priority);
	tasks_format_time(row->run_us, run_at);
	put_text(out, STR(",\"run_at\":"), row->run_us > 0 ? str_of(run_at) : (struct str){0});
	put_text(out, STR(",\"created_at\":"), str_of(row->created_at));
	put_text(out, STR(",\"updated_at\":"), str_of(row->updated_at));
	put_number(out, STR(",\"user_id\":"), row->user_id);
}

void task_json_put(struct buf *out, const struct task_row *row)
{
	put_members(out, row);
	buf_char(out, '}');
}

void task_json_put_whole(struct buf *out, const struct task_row *row)
{
	put_members(out, row);
	put_json(out, STR(",\"payload\":"), row->payload);
	put_json(out, STR(",\"result\":"), row->result);
	buf_char(out, '}');
}
