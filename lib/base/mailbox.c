/* A locked list and an eventfd. The descriptor is written only when the list was empty, so a batch costs one wake-up.
 */
#include "base/mailbox.h"

#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

bool mailbox_init(struct mailbox *box)
{
	box->first = NULL;
	box->last = &box->first;
	box->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (box->fd < 0)
		return false;
	if (pthread_mutex_init(&box->lock, NULL) != 0) {
		close(box->fd);
		return false;
	}
	return true;
}

void mailbox_release(struct mailbox *box)
{
	pthread_mutex_destroy(&box->lock);
	close(box->fd);
}

void mailbox_send(struct mailbox *box, struct mail *chain)
{
	struct mail *end = chain;

	while (end->next)
		end = end->next;
	pthread_mutex_lock(&box->lock);
	bool was_empty = box->first == NULL;
	*box->last = chain;
	box->last = &end->next;
	pthread_mutex_unlock(&box->lock);
	if (was_empty) {
		uint64_t one = 1;
		ssize_t n = write(box->fd, &one, sizeof(one));
		(void)n; /* can only fail when the counter is full: then it is readable anyway */
	}
}

int mailbox_drain(struct mailbox *box)
{
	uint64_t count;
	int opened = 0;

	ssize_t n = read(box->fd, &count, sizeof(count));
	(void)n; /* nothing to read: look all the same */
	pthread_mutex_lock(&box->lock);
	struct mail *mail = box->first;
	box->first = NULL;
	box->last = &box->first;
	pthread_mutex_unlock(&box->lock);
	while (mail) {
		struct mail *next = mail->next;
		mail->open(mail);
		mail = next;
		opened++;
	}
	return opened;
}
