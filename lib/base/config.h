/* Settings: from the environment (and systemd's credentials), then from .env in the working directory, then
 * the default. One table in config.c
 * names them all. Read once at start; nothing changes them afterwards. */
#ifndef APPCORE_BASE_CONFIG_H
#define APPCORE_BASE_CONFIG_H

#include "base/buf.h"

enum { CONFIG_SECONDS_PER_WINDOW = 60 };

struct config {
	const char *environment; /* development, test, staging, production */
	const char *app_name;
	int64_t https_port, http_port, direct_port;
	int64_t instances;
	const char *instance_id;
	const char *data_dir, *run_dir, *models_dir;
	const char *model_default;                    /* answers where no model is named */
	const char *model_drift_window;               /* "1h" */
	const char *database_url, *database_read_url; /* may hold passwords: never printed whole */
	const char *postgres_host, *postgres_user, *postgres_password, *postgres_db; /* make a database_url */
	int64_t postgres_port;
	const char *redis_url;                  /* empty: none. A secret: it may hold a password */
	const char *api_key, *api_key_previous; /* secrets: never printed */
	const char *log_level, *log_file;
	const char *edge_log; /* nginx's, of what it answers by itself */
	int64_t max_body_bytes;
	int64_t model_batch_max; /* inputs in one request */
	int64_t rate_limit_per_minute, key_rate_limit_per_minute;
	const char *rate_limit_headers;                             /* legacy, ietf, both */
	const char *trusted_proxies, *metrics_allow, *cors_origins; /* comma separated */
	const char *http_contract;                                  /* off, local, on */
	const char *predictions_read;                               /* open, key */
	int64_t retention_days;
	const char *secret_key, *secret_key_previous; /* secrets: what signs access tokens, and what did before */
	const char *algorithm;                        /* HS256 */
	int64_t access_token_expire_minutes, refresh_token_expire_days;
	int64_t user_rate_limit_per_minute;                    /* per user and route */
	int64_t password_threads;                              /* hashes at once, in each worker */
	int64_t login_lockout_failures, login_lockout_seconds; /* 0 failures: accounts are never locked */
	const char *sentiment_model;
	int64_t batch_body_bytes, batch_max; /* of a batch for the background */
	int64_t workers;                     /* `appcore work` processes that scripts/service.sh starts */
	int64_t task_threads, task_lease_seconds;
	int64_t user_tasks_pending, user_tasks_bytes, user_tasks_running; /* 0: any number */
	const char *backup_dir;              /* where scripts/backup.sh puts backups; empty: nowhere */
	int64_t backup_hourly, backup_daily; /* that it leaves: of the last hours, of the last days */
	const char *schedule_backup, *schedule_retention, *schedule_expiry,
		*schedule_checkpoint;      /* cron.h; empty or "off": never */
	const char *mail_command;          /* gets a message on its standard input; empty: DATA_DIR/outbox */
	const char *pipelines_dir;         /* NAME.json each */
	int64_t batch_size;                /* records of a pipeline in one transaction */
	int64_t max_workers;               /* threads that read and transform a source, in each run */
	const char *schedule_ingest;       /* when data/raw and APIs are looked at */
	int64_t upload_bytes, upload_days; /* of an uploaded file; after which it is deleted */
	const char *data_access;           /* open, token: who may call /data… */
	const char *source_networks;       /* private networks that sources may be in */
	const char *tls_certificate, *tls_key;
	int64_t schema_accept; /* a newer schema that this program serves all the same; 0: none */

	struct arena arena; /* where the texts live */
};

/* Every problem is a sentence of its own. */
struct config_problems {
	struct buf text; /* lines, each ended by a newline */
	int n;
};

/* Reads and checks all settings. False when there is any problem: then *problems says which, all at once. `env_file`
 * is usually ".env"; one that is not there is no problem. Release both in either case. */
bool config_load(struct config *config, const char *env_file, struct config_problems *problems)
	__attribute__((nonnull, warn_unused_result));
/* NULL, or a sentence that says which secret is missing without which nobody may be answered. Commands that answer
 * nobody need none. */
const char *config_lacks_key(const struct config *config) __attribute__((nonnull, warn_unused_result));
void config_release(struct config *config) __attribute__((nonnull));
void config_problems_release(struct config_problems *problems) __attribute__((nonnull));

static inline bool config_is_production(const struct config *config)
{
	return strcmp(config->environment, "production") == 0;
}

/* All settings but secrets: as shell assignments, or as a JSON object (a secret's value is "set" or ""). */
void config_print_shell(const struct config *config, struct buf *out) __attribute__((nonnull));
void config_print_json(const struct config *config, struct buf *out) __attribute__((nonnull));

#endif
