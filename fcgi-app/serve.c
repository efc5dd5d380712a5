/* appcore serve: one worker.
 *
 * Threads: this one is the event thread (all connections, reads, ticks); the commit thread (store.c); a few slow
 * threads (large bodies and answers); PASSWORD_THREADS that hash; one that loads models (swap.c); the shadow
 * (lib/model/shadow.c); the watch over drift (lib/model/drift_watch.c); the one that counts tasks (lib/task/measure.c);
 * the keeper (metrics file, silent peers); the log's writer; with REDIS_URL one that connects to Redis and listens
 * (redis.c). The event thread ends the process: after SIGTERM when nothing is on the way any more, at once after a
 * second SIGTERM, and likewise, with a failure, when a commit had an outcome that nobody can know. A worker that found
 * its database read-only serves what can be read, and executes itself anew on the same listening socket when it could
 * write. */
#include "app.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "command.h"
#include "http/fcgi.h"
#include "keeper.h"
#include "notify.h"
#include "store/installation.h"
#include "store/migrate.h"
#include "store/moves.h"
#include "task/listen.h"
#include "task/measure.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST_KEYS_MS = 3000, FIRST_MODELS_MS = 60 * 1000, LOOP_MS = 100, EXPIRE_MS = 100, DRAIN_MAX_MS = 30 * 1000 };
enum { READ_ONLY_MS = 30 * 1000, READ_ONLY_SLOT_MS = 10 * 1000, READ_ONLY_SLOTS = 4 };
enum { SLOW_THREADS = 4, LIST_THREADS = 2, UPLOAD_THREADS = 3, OPEN_FILES = 8192, MMAP_BYTES = 128 * 1024 };

struct worker {
	struct config config;
	struct app app;
	struct mailbox mailbox;
	struct loop *loop;
	struct fcgi_server *server;
	struct keeper *keeper;
	struct task_measure *tasks;
	struct task_listen *listen;
	struct loop_watch mail_watch, signal_watch, redis_watch;
	atomic_int connections;
	int terms;         /* SIGTERMs so far */
	bool broken;       /* end with a failure */
	int listener;      /* of the next process, which this one becomes when it has drained; 0: it just ends */
	uint64_t drain_ms; /* since when */
	uint64_t ticked_ms, started_ms;
	bool has_mailbox;
};

/* The event loop hands back the watch; the worker around it is one per process. */
static struct worker *worker_of(struct loop_watch *watch, size_t at)
{
	return (struct worker *)(void *)((char *)watch - at);
}

static void mail_ready(struct loop_watch *watch)
{
	mailbox_drain(&worker_of(watch, offsetof(struct worker, mail_watch))->mailbox);
}

static void start_draining(struct worker *worker)
{
	if (worker->app.draining)
		return;
	worker->app.draining = true;
	worker->drain_ms = clock_mono_ms();
	fcgi_drain(worker->server);
}

static void signal_ready(struct loop_watch *watch)
{
	struct worker *worker = worker_of(watch, offsetof(struct worker, signal_watch));
	struct signalfd_siginfo info;

	while (read(watch->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		worker->terms++;
		log_event(LOG_LEVEL_INFO,
			  worker->terms == 1 ? "SIGTERM: finishing what has begun" : "second SIGTERM: ending at once");
		notify_send("STOPPING=1");
		start_draining(worker);
	}
}

static void redis_ready(struct loop_watch *watch)
{
	redis_read(worker_of(watch, offsetof(struct worker, redis_watch))->app.redis);
}

/* --- starting --- */

/* Threads that stream lists read with connections of their own. */
static void *open_list_connection(void *arg)
{
	struct store *store = arg;
	struct db *db;
	struct err err;

	if (store_connect(store, &db, &err) == STATUS_OK)
		return db;
	log_event(LOG_LEVEL_ERROR, "a thread for lists has no database connection: %s", err.text);
	return NULL;
}

static void close_list_connection(void *arg, void *thread_state)
{
	(void)arg;
	db_close(thread_state);
}

static bool is_listening(int fd)
{
	int value = 0;
	socklen_t n = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &n) == 0 && value == 1;
}

/* The schema must be the one this binary was written for, and the data whole. */
int command_check_schema(const struct config *config)
{
	struct db *db;
	struct err err;
	int number, known;

	migrate_all(DB_DIALECT_SQLITE, &known);
	enum status status = db_open(&db, str_of(config->database_url), DB_READ, &err);
	if (status != STATUS_OK) /* a file that is not there yet is made by a migration */
		return command_fail(
			command_exit_code(status), "%s%s", err.text,
			str_starts(str_of(config->database_url), STR("sqlite:")) ? ". Run: appcore migrate up" : "");
	char source[MOVES_ID_BYTES] = "", complete[MOVES_ID_BYTES] = "";
	status = migrate_current(db, &number, &err);
	if (status == STATUS_OK && number >= known)
		status = moves_get(db, "source", source, &err);
	if (status == STATUS_OK && number >= known)
		status = moves_get(db, "complete", complete, &err);
	db_close(db);
	if (status != STATUS_OK)
		return command_fail(command_exit_code(status), "%s", err.text);
	if (source[0] && !complete[0])
		return command_fail(EXIT_USAGE, "a move into this database is not finished. Run: appcore move again");
	if (number < known)
		return command_fail(EXIT_USAGE,
				    "the database's schema is at migration %d, this program wants %d. "
				    "Run: appcore migrate up",
				    number, known);
	if (number > known && number > config->schema_accept)
		return command_fail(EXIT_USAGE,
				    "the database's schema is at migration %d, which is newer than this program "
				    "(%d). Use the newer program, or, when you know that this one gets on with it, set "
				    "SCHEMA_ACCEPT=%d.",
				    number, known, number);
	return EXIT_OK;
}

static int open_shared(struct worker *worker)
{
	struct err err;
	enum status status = shm_open_dir(&worker->app.shm, worker->config.run_dir, &err);

	if (status == STATUS_OK)
		status = shm_claim_slot(worker->app.shm, worker->config.instance_id, &err);
	if (status != STATUS_OK)
		return command_fail(EXIT_SYSTEM, "%s", err.text);
	status = app_begin_models(&worker->app, &err);
	return status == STATUS_OK ? EXIT_OK : command_fail(command_exit_code(status), "%s", err.text);
}

static int open_store(struct worker *worker)
{
	struct err err;
	struct store_options options = {
		.url = str_of(worker->config.database_url),
		.read_url = str_of(worker->config.database_read_url),
		.mailbox = &worker->mailbox,
		.shm = worker->app.shm,
	};

	worker->has_mailbox = mailbox_init(&worker->mailbox);
	if (!worker->has_mailbox)
		return command_fail(EXIT_SYSTEM, "no descriptor for the mailbox: %s.", strerror(errno));
	worker->app.mailbox = &worker->mailbox;
	enum status status = store_open(&worker->app.store, &options, &err);
	if (status != STATUS_OK)
		return command_fail(command_exit_code(status), "%s", err.text);
	const struct pool_options slow = {
		.name = "slow",
		.threads = SLOW_THREADS,
		.queue = APP_SLOW_QUEUE + APP_LARGE_ANSWERS + FCGI_CONNECTIONS,
	};
	const struct pool_options lists = {
		.name = "lists",
		.threads = LIST_THREADS,
		.queue = APP_SLOW_QUEUE,
		.thread_start = open_list_connection,
		.thread_stop = close_list_connection,
		.arg = worker->app.store,
	};
	const struct pool_options uploads = {
		.name = "uploads",
		.threads = UPLOAD_THREADS,
		.queue = APP_SLOW_QUEUE + FCGI_CONNECTIONS,
		.thread_start = open_list_connection,
		.thread_stop = close_list_connection,
		.arg = worker->app.store,
	};
	const struct pool_options passwords = {
		.name = "passwords", .threads = (int)worker->config.password_threads, .queue = APP_SLOW_QUEUE};
	if (!pool_open(&worker->app.slow, &slow) || !pool_open(&worker->app.lists, &lists) ||
	    !pool_open(&worker->app.uploads, &uploads) || !pool_open(&worker->app.passwords, &passwords))
		return command_fail(EXIT_SYSTEM, "no threads for slow requests: %s.", strerror(errno));
	const struct shadow_options shadow = {.store = worker->app.store, .shm = worker->app.shm};
	if (!shadow_open(&worker->app.shadow, &shadow))
		return command_fail(EXIT_SYSTEM, "no thread for the shadow: %s.", strerror(errno));
	struct drift_watch_options drift = {.store = worker->app.store, .shm = worker->app.shm};
	if (!clock_parse_duration(str_of(worker->config.model_drift_window), &drift.window_s))
		return command_fail(EXIT_USAGE, "MODEL_DRIFT_WINDOW is no duration.");
	if (!drift_watch_start(&worker->app.drift, &drift))
		return command_fail(EXIT_SYSTEM, "no thread for the drift: %s.", strerror(errno));
	drift_watch_take(worker->app.drift, worker->app.models);
	return EXIT_OK;
}

static void keys_changed(void *arg)
{
	app_keys_changed(arg);
}

/* Which installation's data this is has to be known for Redis only, so only then it is written down. Mostly it has
 * been, and a database that only reads now will do. */
static enum status find_installation(const struct config *config, char out[static INSTALLATION_BYTES], struct err *err)
{
	struct db *db;
	enum status status = db_open(&db, str_of(config->database_url), DB_READ, err);

	if (status == STATUS_OK) {
		status = installation_find(db, out, err);
		db_close(db);
		if (status == STATUS_OK && out[0])
			return status;
	}
	status = db_open(&db, str_of(config->database_url), DB_WRITE, err);
	if (status != STATUS_OK)
		return status;
	status = installation_make(db, out, err);
	db_close(db);
	return status;
}

/* Neither that Redis does not answer is a reason not to start, nor that the database takes no writes. */
static int open_redis(struct worker *worker)
{
	struct app *app = &worker->app;
	struct redis_options options = {
		.mailbox = &worker->mailbox,
		.shm = app->shm,
		.instance = worker->config.instance_id,
		.on_change = keys_changed,
		.arg = app,
		.script = limit_redis_script,
		.probe = limit_redis_probe,
		.probe_n = LIMIT_REDIS_PROBE_ARGS,
	};
	struct err err;

	if (!*worker->config.redis_url)
		return EXIT_OK;
	enum status status = redis_url_parse(str_of(worker->config.redis_url), &options.url, &err);
	if (status == STATUS_OK)
		status = find_installation(&worker->config, options.installation, &err);
	if (status == STATUS_UNAVAILABLE || status == STATUS_BUSY) {
		log_event(LOG_LEVEL_ERROR,
			  "this worker goes without Redis until its next start: which data it holds is not known, and "
			  "can't be written down "
			  "now (%s)",
			  err.text);
		return EXIT_OK;
	}
	if (status == STATUS_OK)
		status = redis_open(&app->redis, &options, &err);
	if (status == STATUS_OK && !limit_redis_open(&app->limits, app->redis, CONFIG_SECONDS_PER_WINDOW * 1000))
		status = err_set(&err, STATUS_NO_MEMORY, "no memory for Redis");
	return status == STATUS_OK ? EXIT_OK : command_fail(command_exit_code(status), "%s", err.text);
}

static int open_server(struct worker *worker)
{
	sigset_t terminating;
	struct app *app = &worker->app;

	if (!app_init(app) || !loop_open(&worker->loop) || !fcgi_open(&worker->server, worker->loop, STDIN_FILENO, app))
		return command_fail(EXIT_SYSTEM, "the socket can't be served: %s.", strerror(errno));
	/* libfcgi has installed handlers of its own by now. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	shm_mark_crashes(app->shm);
	sigemptyset(&terminating);
	sigaddset(&terminating, SIGTERM);
	sigaddset(&terminating, SIGINT);
	worker->signal_watch.fd = signalfd(-1, &terminating, SFD_CLOEXEC | SFD_NONBLOCK);
	worker->signal_watch.ready = signal_ready;
	worker->mail_watch = (struct loop_watch){.ready = mail_ready, .fd = worker->mailbox.fd};
	if (app->redis)
		worker->redis_watch = (struct loop_watch){.ready = redis_ready, .fd = redis_fd(app->redis)};
	if (worker->signal_watch.fd < 0 || !loop_add(worker->loop, &worker->signal_watch, false) ||
	    !loop_add(worker->loop, &worker->mail_watch, false) ||
	    (app->redis && !loop_add(worker->loop, &worker->redis_watch, false)) ||
	    !task_listen_start(&worker->listen, &worker->config, app->shm) ||
	    !task_measure_start(&worker->tasks, &worker->config, app->shm) ||
	    !keeper_start(&worker->keeper, app, &worker->connections))
		return command_fail(EXIT_SYSTEM, "the worker can't be set up: %s.", strerror(errno));
	return EXIT_OK;
}

static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* Everything in the order in which it depends on each other; the threads start with the signals blocked. */
static int start(struct worker *worker)
{
	struct config *config = &worker->config;
	int code;

	if (!is_listening(STDIN_FILENO))
		return command_fail(EXIT_USAGE, "descriptor 0 is no listening socket: start me through spawn-fcgi (see "
						"appcore serve --help).");
	worker->app.config = config;
	block_signals();
	if (!log_start(log_level_of(config->log_level), config->log_file, config->instance_id))
		return command_fail(EXIT_SYSTEM, "the log %s can't be written: %s.", config->log_file, strerror(errno));
	if ((code = command_check_schema(config)) != EXIT_OK || (code = open_shared(worker)) != EXIT_OK ||
	    (code = open_store(worker)) != EXIT_OK || (code = open_redis(worker)) != EXIT_OK ||
	    (code = open_server(worker)) != EXIT_OK)
		return code;
	return EXIT_OK;
}

/* --- running --- */

/* systemd gives a service mounts of its own, and one that was made read-only stays so for the processes that were
 * started meanwhile: only the supervisor can help. Not all workers at once, for there is something to read. */
static bool is_stuck_read_only(const struct worker *worker, uint64_t now_ms)
{
	uint64_t patience_ms = READ_ONLY_MS;

	patience_ms += (uint64_t)(shm_slot(worker->app.shm) % READ_ONLY_SLOTS) * READ_ONLY_SLOT_MS;
	return store_is_read_only(worker->app.store) && now_ms - worker->started_ms > patience_ms;
}

static void end_for_new_start(struct worker *worker, const char *why)
{
	worker->broken = true;
	log_event(LOG_LEVEL_CRITICAL, "%s; this worker ends and starts anew", why);
	notify_send("STOPPING=1");
	start_draining(worker);
}

static void tick(struct worker *worker, uint64_t now_ms)
{
	struct app *app = &worker->app;

	shm_beat(app->shm, now_ms);
	fcgi_sweep(worker->server, now_ms);
	if (now_ms - worker->ticked_ms < EXPIRE_MS)
		return;
	worker->ticked_ms = now_ms;
	store_expire(app->store, now_ms);
	app_tick(app, now_ms);
	atomic_store_explicit(&worker->connections, fcgi_connections(worker->server), memory_order_relaxed);
	if (store_is_broken(app->store) && !worker->broken)
		end_for_new_start(worker, "a commit ended without a known outcome");
	if (store_wants_restart(app->store) && !app->draining) {
		log_event(LOG_LEVEL_INFO, "the database can be written again; this worker starts anew");
		worker->listener = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
		start_draining(worker);
	}
	if (is_stuck_read_only(worker, now_ms) && !app->draining)
		end_for_new_start(worker, "the database still can't be written");
}

static bool is_done(const struct worker *worker, uint64_t now_ms)
{
	if (!worker->app.draining)
		return false;
	return worker->terms > 1 || fcgi_busy(worker->server) == 0 ||
	       (now_ms > worker->drain_ms && now_ms - worker->drain_ms > DRAIN_MAX_MS);
}

/* The API keys and the models, before the first request. PostgreSQL's come through the mailbox, models from the thread
 * that loads them; without an answer from it the worker serves what it can. */
static void read_first(struct worker *worker, uint64_t now_ms)
{
	struct pollfd p = {.fd = worker->mailbox.fd, .events = POLLIN};

	app_tick(&worker->app, now_ms);
	while ((app_reads_keys(&worker->app) && clock_mono_ms() - now_ms < FIRST_KEYS_MS) ||
	       (app_loads_models(&worker->app) && clock_mono_ms() - now_ms < FIRST_MODELS_MS)) {
		(void)poll(&p, 1, 50);
		mailbox_drain(&worker->mailbox);
		shm_beat(worker->app.shm, clock_mono_ms());
	}
}

static void run(struct worker *worker)
{
	uint64_t now_ms = clock_mono_ms();

	worker->started_ms = now_ms;
	read_first(worker, now_ms);
	log_event(LOG_LEVEL_INFO, "appcore %s (%s) serves, pid %d", APPCORE_VERSION, APPCORE_COMMIT, (int)getpid());
	notify_send("READY=1");
	while (!is_done(worker, now_ms)) {
		loop_run(worker->loop, app_sleep_ms(&worker->app, now_ms, LOOP_MS));
		now_ms = clock_mono_ms();
		tick(worker, now_ms);
		app_end_round(&worker->app, now_ms);
	}
}

static bool becomes_next(const struct worker *worker)
{
	return worker->listener > 0 && worker->terms == 0 && !worker->broken;
}

/* The same program with the same process id, so that the socket goes on listening and the supervisor need not know.
 * What comes back has failed. */
static int become_next(const struct worker *worker)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n > 0 && dup2(worker->listener, STDIN_FILENO) == STDIN_FILENO) {
		path[n] = '\0';
		execl(path, path, "serve", (char *)NULL);
	}
	return EXIT_SYSTEM;
}

/* What the last jobs of the threads have sent. A request may go on with it, so everything that it could ask is still
 * there, and refuses. */
static void open_last_mail(struct worker *worker)
{
	while (worker->has_mailbox && mailbox_drain(&worker->mailbox) > 0)
		;
}

/* The other way round; also what a failed start has left. */
static void stop(struct worker *worker)
{
	struct app *app = &worker->app;

	if (app->shm)
		shm_beat(app->shm, 0); /* no more signs of life from here on: joining threads may take seconds */
	/* From here on the time to stop is the limit. */
	if (!becomes_next(worker))
		notify_send("WATCHDOG_USEC=60000000");
	keeper_stop(worker->keeper);
	task_measure_stop(worker->tasks);
	task_listen_stop(worker->listen);
	pool_stop(app->lists);
	pool_stop(app->uploads);
	pool_stop(app->slow);
	pool_stop(app->passwords);
	drift_watch_stop(app->drift);
	app->drift = NULL;
	shadow_close(app->shadow);
	app->shadow = NULL;
	store_stop(app->store);
	open_last_mail(worker);
	redis_close(app->redis); /* what is on the way is forgotten with its connections */
	app->redis = NULL;
	limit_redis_close(app->limits);
	open_last_mail(worker);
	fcgi_close(worker->server);
	loop_close(worker->loop);
	pool_close(app->lists);
	pool_close(app->uploads);
	pool_close(app->slow);
	pool_close(app->passwords);
	store_close(app->store);
	if (app->chores)
		app_release(app);
	if (worker->has_mailbox)
		mailbox_release(&worker->mailbox);
	shm_close(app->shm);
	log_event(LOG_LEVEL_INFO, "ended");
	log_stop();
	config_release(&worker->config);
}

/* Two thousand connections want more descriptors than a shell's usual soft limit. */
static void raise_open_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= OPEN_FILES)
		return;
	limit.rlim_cur = limit.rlim_max < OPEN_FILES ? limit.rlim_max : OPEN_FILES;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* nginx should not lose its processor to a worker at every request that it hands over: with SCHED_BATCH it goes on, and
 * the worker finds several requests when it runs. A fifth more requests per second (DECISIONS.md). All threads that are
 * made later inherit it. Where it is forbidden nothing but speed is lost; the units set it from outside. */
static void prefer_throughput(void)
{
	const struct sched_param none = {0};

	(void)sched_setscheduler(0, SCHED_BATCH, &none);
}

int serve_main(int argc, char **argv)
{
	static struct worker worker;
	bool done;

	if (!command_options(command_find("serve"), &argc, argv, NULL, 0, &done))
		return EXIT_USAGE;
	if (done)
		return EXIT_OK;
	if (argc > 1)
		return command_fail(EXIT_USAGE, "there are no arguments; see --help.");
	/* Large requests give their memory back to the system when they end, instead of into a heap that stays. */
	mallopt(M_MMAP_THRESHOLD, MMAP_BYTES);
	mallopt(M_TRIM_THRESHOLD, MMAP_BYTES);
	mallopt(M_ARENA_MAX, 2);
	raise_open_files();
	prefer_throughput();
	if (!command_load_config(&worker.config))
		return EXIT_USAGE;
	const char *lacks = config_lacks_key(&worker.config);
	if (lacks)
		return command_fail(EXIT_USAGE, "%s", lacks);
	/* Every worker must know tokens that others sign, so none is made up here. */
	if (!*worker.config.secret_key)
		return command_fail(EXIT_USAGE,
				    "SECRET_KEY is not set: access tokens are signed with it. Make one (openssl rand "
				    "-base64 48) and give it as SECRET_KEY, SECRET_KEY_FILE or the unit's credential "
				    "secret_key (/etc/appcore/credentials/secret_key).");
	int code = start(&worker);
	if (code == EXIT_OK)
		run(&worker);
	if (worker.terms > 1) {
		log_stop();
		_exit(EXIT_SYSTEM); /* asked twice: what is left is recognised as left by the dead */
	}
	bool failed = worker.broken;
	stop(&worker);
	if (code == EXIT_OK && becomes_next(&worker))
		return become_next(&worker);
	return code != EXIT_OK ? code : failed ? EXIT_SYSTEM : EXIT_OK;
}
