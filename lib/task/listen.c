/* The thread reads the database's notifications with a connection of its own, and writes nothing but the counters of
 * wake.h. It ends when task_listen_stop makes its descriptor readable. While the database can't be had nobody is woken:
 * workers look by themselves once a second. Through a pooler (PgBouncer) nothing can be heard. */
#include "task/listen.h"

#include "shared/wake.h"
#include "store/db.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { RETRY_MS = 1000 };

struct task_listen {
	const struct config *config;
	struct shm *shm;
	pthread_t thread;
	int stop_fd;
};

/* True: it is time to end. */
static bool is_stopped(const struct task_listen *listen, int wait_ms)
{
	struct pollfd fd = {.fd = listen->stop_fd, .events = POLLIN};

	return poll(&fd, 1, wait_ms) > 0;
}

static void *listen_main(void *arg)
{
	struct task_listen *listen = arg;
	struct db *db = NULL;

	while (!is_stopped(listen, 0)) {
		enum status status = STATUS_OK;
		bool told = false;
		if (!db)
			status = db_open(&db, str_of(listen->config->database_url), DB_READ, NULL);
		if (status != STATUS_OK)
			db = NULL;
		else
			status = db_listen(db, listen->stop_fd, &told, NULL);
		if (told) {
			wake_all(listen->shm, WAKE_TASKS);
			wake_all(listen->shm, WAKE_EVENTS);
		}
		if (status != STATUS_OK && is_stopped(listen, RETRY_MS))
			break;
		/* Behind a pooler: whoever follows the changes looks by itself, as workers do for tasks. */
		if (status == STATUS_NOT_FOUND)
			wake_all(listen->shm, WAKE_EVENTS);
	}
	db_close(db);
	return NULL;
}

bool task_listen_start(struct task_listen **out, const struct config *config, struct shm *shm)
{
	struct task_listen *listen;

	*out = NULL;
	if (str_starts(str_of(config->database_url), STR("sqlite:")))
		return true;
	listen = calloc(1, sizeof(*listen));
	if (!listen)
		return false;
	listen->config = config;
	listen->shm = shm;
	listen->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (listen->stop_fd < 0 || pthread_create(&listen->thread, NULL, listen_main, listen) != 0) {
		if (listen->stop_fd >= 0)
			close(listen->stop_fd);
		free(listen);
		return false;
	}
	pthread_setname_np(listen->thread, "tasks-listen");
	*out = listen;
	return true;
}

void task_listen_stop(struct task_listen *listen)
{
	const uint64_t one = 1;

	if (!listen)
		return;
	ssize_t written = write(listen->stop_fd, &one, sizeof(one));
	(void)written; /* of eight bytes into an empty counter */
	pthread_join(listen->thread, NULL);
	close(listen->stop_fd);
	free(listen);
}
