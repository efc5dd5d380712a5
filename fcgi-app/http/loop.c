/* epoll. */
#include "http/loop.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { LOOP_EVENTS = 128 };

struct loop {
	int fd;
	struct epoll_event events[LOOP_EVENTS];
};

bool loop_open(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return false;
	loop->fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->fd < 0) {
		free(loop);
		return false;
	}
	*out = loop;
	return true;
}

void loop_close(struct loop *loop)
{
	if (!loop)
		return;
	close(loop->fd);
	free(loop);
}

bool loop_add(struct loop *loop, struct loop_watch *watch, bool edge)
{
	struct epoll_event event = {.events = EPOLLIN | (edge ? EPOLLET | EPOLLRDHUP : 0u), .data.ptr = watch};

	return epoll_ctl(loop->fd, EPOLL_CTL_ADD, watch->fd, &event) == 0;
}

void loop_want_output(struct loop *loop, struct loop_watch *watch, bool wanted)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET | EPOLLRDHUP | (wanted ? EPOLLOUT : 0u),
				    .data.ptr = watch};

	epoll_ctl(loop->fd, EPOLL_CTL_MOD, watch->fd, &event);
}

void loop_remove(struct loop *loop, struct loop_watch *watch)
{
	epoll_ctl(loop->fd, EPOLL_CTL_DEL, watch->fd, NULL);
}

int loop_run(struct loop *loop, int timeout_ms)
{
	int n = epoll_wait(loop->fd, loop->events, LOOP_EVENTS, timeout_ms);

	for (int i = 0; i < n; i++) {
		struct loop_watch *watch = loop->events[i].data.ptr;
		if (!watch->dead)
			watch->ready(watch);
	}
	return n < 0 ? 0 : n;
}
