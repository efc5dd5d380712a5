/* Threads around one locked queue. */
#include "base/pool.h"

#include <pthread.h>
#include <stdlib.h>

struct pool {
	struct pool_options options;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct pool_job *first, **last; /* guarded by lock */
	size_t length;                  /* guarded by lock */
	bool stopping;                  /* guarded by lock */
	int started;
	pthread_t threads[];
};

/* Takes jobs from the queue until the pool stops and the queue is empty. */
static void *thread_main(void *arg)
{
	struct pool *pool = arg;
	void *state = pool->options.thread_start ? pool->options.thread_start(pool->options.arg) : NULL;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		while (!pool->first && !pool->stopping)
			pthread_cond_wait(&pool->wake, &pool->lock);
		struct pool_job *job = pool->first;
		if (!job)
			break;
		pool->first = job->next;
		if (!pool->first)
			pool->last = &pool->first;
		pool->length--;
		pthread_mutex_unlock(&pool->lock);
		job->run(job, state);
		pthread_mutex_lock(&pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	if (pool->options.thread_stop)
		pool->options.thread_stop(pool->options.arg, state);
	return NULL;
}

bool pool_open(struct pool **out, const struct pool_options *options)
{
	struct pool *pool = calloc(1, sizeof(*pool) + (size_t)options->threads * sizeof(pthread_t));

	if (!pool)
		return false;
	pool->options = *options;
	pool->last = &pool->first;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wake, NULL);
	for (int i = 0; i < options->threads; i++) {
		if (pthread_create(&pool->threads[i], NULL, thread_main, pool) != 0) {
			pool_close(pool);
			return false;
		}
		pthread_setname_np(pool->threads[i], options->name);
		pool->started++;
	}
	*out = pool;
	return true;
}

void pool_stop(struct pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	for (int i = 0; i < pool->started; i++)
		pthread_join(pool->threads[i], NULL);
	pool->started = 0;
}

void pool_close(struct pool *pool)
{
	if (!pool)
		return;
	pool_stop(pool);
	pthread_mutex_destroy(&pool->lock);
	pthread_cond_destroy(&pool->wake);
	free(pool);
}

bool pool_submit(struct pool *pool, struct pool_job *job)
{
	bool taken = false;

	pthread_mutex_lock(&pool->lock);
	if (pool->length < pool->options.queue && !pool->stopping) {
		job->next = NULL;
		*pool->last = job;
		pool->last = &job->next;
		pool->length++;
		taken = true;
		pthread_cond_signal(&pool->wake);
	}
	pthread_mutex_unlock(&pool->lock);
	return taken;
}

size_t pool_queue_length(struct pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	size_t length = pool->length;
	pthread_mutex_unlock(&pool->lock);
	return length;
}
