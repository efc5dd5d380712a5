/* The kinds of tasks. What a column means stands in kinds.h. */
#include "task/export.h"
#include "task/functions.h"
#include "task/ingest.h"
#include "task/sentiment.h"

enum { MINUTE = 60, HOUR = 60 * MINUTE, DAY = 24 * HOUR };

const struct task_kind TASK_KINDS[] = {
	{.name = "echo",
	 .run = task_echo,
	 .callers = TASK_CALLERS_USERS,
	 .small = true,
	 .attempts = 3,
	 .backoff_s = 1,
	 .time_limit_s = 10,
	 .result_lifetime_s = 7 * DAY},
	{.name = "sleep",
	 .run = task_sleep,
	 .check = task_sleep_check,
	 .callers = TASK_CALLERS_ADMIN,
	 .attempts = 3,
	 .backoff_s = 1,
	 .time_limit_s = 2 * HOUR,
	 .result_lifetime_s = 7 * DAY},
	{.name = SENTIMENT_KIND_BATCH,
	 .run = task_sentiment_batch,
	 .callers = TASK_CALLERS_NONE, /* its texts come with POST /api/v1/sentiment/analyze/batch */
	 .computes = true,
	 .attempts = 10,
	 .backoff_s = 5,
	 .time_limit_s = 6 * HOUR,
	 .result_lifetime_s = 30 * DAY},
	{.name = SENTIMENT_KIND_ONE,
	 .run = task_sentiment,
	 .check = task_sentiment_check,
	 .callers = TASK_CALLERS_USERS,
	 .attempts = 10,
	 .backoff_s = 5,
	 .time_limit_s = MINUTE,
	 .result_lifetime_s = 30 * DAY},
	{.name = "send_email",
	 .run = task_send_email,
	 .check = task_send_email_check,
	 .callers = TASK_CALLERS_ADMIN,
	 .attempts = 8,
	 .backoff_s = 30,
	 .time_limit_s = 2 * MINUTE,
	 .result_lifetime_s = 30 * DAY},
	{.name = "expiry",
	 .run = task_expiry,
	 .callers = TASK_CALLERS_NONE,
	 .attempts = 3,
	 .backoff_s = 30,
	 .time_limit_s = HOUR,
	 .result_lifetime_s = DAY},
	{.name = "retention",
	 .run = task_retention,
	 .callers = TASK_CALLERS_NONE,
	 .attempts = 5,
	 .backoff_s = 5 * MINUTE,
	 .time_limit_s = 6 * HOUR,
	 .result_lifetime_s = 30 * DAY},
	{.name = "backup",
	 .run = task_backup,
	 .callers = TASK_CALLERS_ADMIN,
	 .attempts = 3,
	 .backoff_s = 5 * MINUTE,
	 .time_limit_s = 6 * HOUR,
	 .result_lifetime_s = 90 * DAY},
	{.name = "checkpoint",
	 .run = task_wal_checkpoint,
	 .callers = TASK_CALLERS_NONE,
	 .attempts = 2,
	 .backoff_s = MINUTE,
	 .time_limit_s = 10 * MINUTE,
	 .result_lifetime_s = DAY},
	{.name = INGEST_KIND_RUN,
	 .run = task_pipeline_run,
	 .callers = TASK_CALLERS_NONE, /* a run comes with it: ingest_start */
	 .attempts = 10,
	 .backoff_s = 5,
	 .time_limit_s = DAY,
	 .result_lifetime_s = 30 * DAY},
	{.name = INGEST_KIND_LOOK,
	 .run = task_pipeline_ingest,
	 .callers = TASK_CALLERS_ADMIN,
	 .attempts = 3,
	 .backoff_s = 10,
	 .time_limit_s = HOUR,
	 .result_lifetime_s = DAY},
	{.name = EXPORT_KIND,
	 .run = task_data_export,
	 .callers = TASK_CALLERS_NONE, /* POST /api/v1/data/exports checks what it asks for */
	 .attempts = 5,
	 .backoff_s = 5,
	 .time_limit_s = 6 * HOUR,
	 .result_lifetime_s = 7 * DAY}, /* and its file's */
#ifdef APPCORE_FAULTS
	{.name = "crash", .run = task_crash, .small = true, .attempts = 3, .backoff_s = 1, .time_limit_s = 10},
#endif
};

const int TASK_KINDS_N = (int)(sizeof(TASK_KINDS) / sizeof(TASK_KINDS[0]));

const struct task_kind *task_kind_find(struct str name)
{
	for (int i = 0; i < TASK_KINDS_N; i++)
		if (str_eq(name, str_of(TASK_KINDS[i].name)))
			return &TASK_KINDS[i];
	return NULL;
}
