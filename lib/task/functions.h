/* The functions of the kinds in the table (kinds.c). */
#ifndef APPCORE_TASK_FUNCTIONS_H
#define APPCORE_TASK_FUNCTIONS_H

#include "task/kinds.h"

/* --- plain.c --- */
enum status task_echo(struct task_run *run, struct err *err);
enum status task_sleep(struct task_run *run, struct err *err);
const char *task_sleep_check(struct str payload, const char **field);
#ifdef APPCORE_FAULTS
enum status task_crash(struct task_run *run, struct err *err);
#endif

/* --- upkeep.c --- */
enum status task_expiry(struct task_run *run, struct err *err);
enum status task_retention(struct task_run *run, struct err *err);
enum status task_backup(struct task_run *run, struct err *err);
enum status task_wal_checkpoint(struct task_run *run, struct err *err);

/* --- sentiment_batch.c --- */
enum status task_sentiment_batch(struct task_run *run, struct err *err);
enum status task_sentiment(struct task_run *run, struct err *err);
const char *task_sentiment_check(struct str payload, const char **field);

/* --- mail.c --- */
enum status task_send_email(struct task_run *run, struct err *err);
const char *task_send_email_check(struct str payload, const char **field);

/* --- export.c --- */
enum status task_data_export(struct task_run *run, struct err *err);

/* --- pipeline_run.c, pipeline_look.c --- */
enum status task_pipeline_run(struct task_run *run, struct err *err);
enum status task_pipeline_ingest(struct task_run *run, struct err *err);

#endif
