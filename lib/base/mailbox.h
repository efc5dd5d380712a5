/* Hands finished work from any thread to the one thread that owns the mailbox, which waits on a file descriptor. */
#ifndef APPCORE_BASE_MAILBOX_H
#define APPCORE_BASE_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>

struct mail {
	struct mail *next;
	void (*open)(struct mail *mail); /* called in the owner's thread */
};

struct mailbox {
	pthread_mutex_t lock;
	struct mail *first;
	struct mail **last;
	int fd; /* eventfd: readable while there is mail */
};

/* False when the descriptor can't be had. */
bool mailbox_init(struct mailbox *box) __attribute__((nonnull, warn_unused_result));
void mailbox_release(struct mailbox *box) __attribute__((nonnull));

/* Any thread. Mail is opened in the order it was sent. Sends a chain (linked by next, ended by NULL) with one wake-up.
 */
void mailbox_send(struct mailbox *box, struct mail *chain) __attribute__((nonnull));

/* Owner: opens all mail there is. Returns how many. */
int mailbox_drain(struct mailbox *box) __attribute__((nonnull));

#endif
