/* The text that Prometheus reads (exposition format 0.0.4, prometheus.io/docs/instrumenting/exposition_formats), and
 * the file that nginx serves it from. Values are written as Python's client writes them, "101.0". */
#include "shared/metrics_impl.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/version.h"
#include "shared/edge.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const TYPES[] = {
	[METRICS_COUNTER] = "counter",
	[METRICS_GAUGE] = "gauge",
	[METRICS_HISTOGRAM] = "histogram",
};
_Static_assert(sizeof(TYPES) / sizeof(TYPES[0]) == METRICS_TYPE__MAX, "a name for each type");

static void put_text(struct buf *out, const char *text)
{
	buf_put(out, text, strlen(text));
}

/* value / 10^digits, exactly, with at least one decimal. */
static void put_fixed(struct buf *out, uint64_t value, int digits)
{
	uint64_t unit = 1;
	char fraction[20] = {0};
	int n = digits;

	for (int i = 0; i < digits; i++)
		unit *= 10;
	buf_u64(out, value / unit);
	value %= unit;
	for (int i = digits - 1; i >= 0; i--) {
		fraction[i] = (char)('0' + value % 10);
		value /= 10;
	}
	while (n > 1 && fraction[n - 1] == '0')
		n--;
	buf_char(out, '.');
	if (n == 0)
		buf_char(out, '0');
	buf_put(out, fraction, (size_t)n);
}

static void put_double(struct buf *out, double value)
{
	if (isfinite(value))
		json_put_double(out, value);
	else
		put_text(out, isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
}

/* name[suffix][{labels}] and a blank. */
static void put_series(struct buf *out, const struct shm_family *family, const char *suffix, struct str labels)
{
	put_text(out, family->name);
	put_text(out, suffix);
	if (labels.n > 0) {
		buf_char(out, '{');
		buf_str(out, labels);
		buf_char(out, '}');
	}
	buf_char(out, ' ');
}

static void put_bucket(struct buf *out, const struct shm_family *family, struct str labels, double bound, uint64_t n)
{
	put_text(out, family->name);
	put_text(out, "_bucket{");
	buf_str(out, labels);
	put_text(out, labels.n > 0 ? ",le=\"" : "le=\"");
	put_double(out, bound);
	put_text(out, "\"} ");
	put_fixed(out, n, 0);
	buf_char(out, '\n');
}

/* The count is the sum of the buckets, so that it equals the +Inf bucket at any instant. */
static void put_histogram(struct buf *out, const struct shm_family *family, struct str labels, const uint64_t *values)
{
	uint32_t bounds = metrics_bounds(family);
	uint64_t n = 0;

	for (uint32_t i = 0; i < bounds; i++)
		put_bucket(out, family, labels, family->bounds[i], n += values[i]);
	put_bucket(out, family, labels, INFINITY, n += values[bounds]);
	put_series(out, family, "_count", labels);
	put_fixed(out, n, 0);
	buf_char(out, '\n');
	put_series(out, family, "_sum", labels);
	put_fixed(out, values[bounds + 1], family->flags & METRICS_SECONDS ? 9 : 0);
	buf_char(out, '\n');
}

static void put_counter(struct buf *out, const struct shm_family *family, uint64_t value)
{
	put_series(out, family, "", STR(""));
	put_fixed(out, value, 0);
	buf_char(out, '\n');
}

static void put_sample(struct buf *out, const struct shm_family *family, const struct metrics_sample *sample)
{
	double value;

	if (family->type == METRICS_HISTOGRAM) {
		put_histogram(out, family, sample->text, sample->values);
		return;
	}
	put_series(out, family, "", sample->text);
	if (family->type == METRICS_COUNTER) {
		put_fixed(out, sample->values[0], 0);
	} else {
		memcpy(&value, &sample->values[0], sizeof(value));
		put_double(out, value);
	}
	buf_char(out, '\n');
}

/* Whether a series is shown: a gauge that a live worker has set, a counter or histogram that was ever added to. So that
 * a series found ahead of its first use has no sample until then. */
static bool is_used(const struct shm_family *family, const struct metrics_sample *sample)
{
	uint64_t any = 0;

	if (family->type == METRICS_GAUGE)
		return sample->when >= 0;
	uint32_t n = metrics_cells(family);
	for (uint32_t i = 0; i < n; i++)
		any |= sample->values[i];
	return any != 0;
}

/* What a family without labels shows before anybody has touched it; a worker's gauge shows nothing. */
static void put_untouched(struct buf *out, const struct shm_family *family)
{
	static const uint64_t ZEROS[METRICS_MAX_BUCKETS + 2];

	if (family->flags & METRICS_LABELLED)
		return;
	if (family->type == METRICS_HISTOGRAM)
		put_histogram(out, family, STR(""), ZEROS);
	else if (family->type == METRICS_COUNTER || (family->flags & METRICS_SHARED))
		put_counter(out, family, 0);
}

/* --- families that are computed --- */

/* The earliest start among the versions that have live workers; this one's when none has. */
static int64_t service_start(const struct metrics_sums *sums, const struct shm *shm)
{
	int64_t start = 0;

	for (int i = 0; i < sums->views_n; i++) {
		const struct shm_view *view = &sums->views[i];
		const struct shm_totals *totals = shm_view_at(view, view->d.totals, 0);
		int64_t its = atomic_load(&totals->service_start_us);
		if (view->live_n > 0 && its > 0 && (start == 0 || its < start))
			start = its;
	}
	return start ? start : shm_service_start_us(shm);
}

static uint64_t sum_totals(const struct metrics_sums *sums, bool dropped)
{
	uint64_t sum = 0;

	for (int i = 0; i < sums->views_n; i++) {
		const struct shm_totals *totals = shm_view_at(&sums->views[i], sums->views[i].d.totals, 0);
		sum += atomic_load(dropped ? &totals->dropped : &totals->limit_skipped);
	}
	return sum;
}

struct worker {
	char label[192];
	size_t label_n;
	int64_t start_us;
};

static int list_workers(const struct metrics_sums *sums, struct worker *out, int max)
{
	int n = 0;

	for (int v = 0; v < sums->views_n; v++) {
		const struct shm_view *view = &sums->views[v];
		for (uint32_t i = 0; i < view->d.slots.n && n < max; i++) {
			char instance[SHM_INSTANCE_BYTES];
			const struct shm_slot *slot = shm_view_at(view, view->d.slots, i);
			if (!view->live[i])
				continue;
			for (size_t w = 0; w < SHM_INSTANCE_BYTES / 8; w++) {
				uint64_t word = atomic_load_explicit(&slot->instance[w], memory_order_relaxed);
				memcpy(instance + w * 8, &word, 8);
			}
			struct str name = {instance, strnlen(instance, sizeof(instance))};
			out[n].label_n = 0;
			out[n].start_us = atomic_load(&slot->start_us);
			n += metrics_put_label(out[n].label, sizeof(out[n].label), &out[n].label_n, "instance", name);
		}
	}
	return n;
}

/* Two live workers of one name (an old one drains while the new one runs) would be one series twice: the newer stays.
 */
static void put_worker_starts(struct buf *out, const struct shm_family *family, const struct metrics_sums *sums)
{
	int max = 0;

	for (int i = 0; i < sums->views_n; i++)
		max += sums->views[i].live_n;
	struct worker *workers = calloc((size_t)max + 1, sizeof(*workers));
	if (!workers) {
		out->failed = true;
		return;
	}
	int n = list_workers(sums, workers, max);
	for (int i = 0; i < n; i++) {
		struct str label = {workers[i].label, workers[i].label_n};
		bool newest = true;
		for (int j = 0; j < n; j++) {
			bool same = j != i && str_eq(label, (struct str){workers[j].label, workers[j].label_n});
			if (same && (workers[j].start_us > workers[i].start_us ||
				     (j < i && workers[j].start_us == workers[i].start_us)))
				newest = false;
		}
		if (!newest)
			continue;
		put_series(out, family, "", label);
		put_fixed(out, (uint64_t)(workers[i].start_us > 0 ? workers[i].start_us : 0), 6);
		buf_char(out, '\n');
	}
	free(workers);
}

static void put_edge_responses(struct buf *out, const struct shm_family *family, const struct shm *shm)
{
	struct edge_count counts[EDGE_STATUSES];
	int n = edge_counts(shm->dir, counts);

	for (int i = 0; i < n; i++) {
		char label[32];
		if (counts[i].status == 0)
			snprintf(label, sizeof(label), "status=\"other\"");
		else
			snprintf(label, sizeof(label), "status=\"%u\"", (unsigned)counts[i].status);
		put_series(out, family, "", str_of(label));
		put_fixed(out, counts[i].n, 0);
		buf_char(out, '\n');
	}
}

static void put_moment(struct buf *out, const struct shm_family *family, int64_t wall_us)
{
	put_series(out, family, "", STR(""));
	put_fixed(out, (uint64_t)(wall_us > 0 ? wall_us : 0), 6);
	buf_char(out, '\n');
}

static void put_computed(struct buf *out, uint32_t i, const struct metrics_sums *sums, const struct shm *shm)
{
	const struct shm_family *family = &sums->families[i];
	uint64_t live = 0;

	for (int v = 0; v < sums->views_n; v++)
		live += (uint64_t)sums->views[v].serving_n;
	if (i == METRICS_APP_INFO)
		put_text(out, "app_info{version=\"" APPCORE_VERSION "\"} 1.0\n");
	else if (i == METRICS_RENDERED)
		put_moment(out, family, clock_wall_us());
	else if (i == METRICS_SERVICE_START)
		put_moment(out, family, service_start(sums, shm));
	else if (i == METRICS_WORKERS)
		put_counter(out, family, live);
	else if (i == METRICS_WORKER_START)
		put_worker_starts(out, family, sums);
	else if (i == METRICS_EDGE_RESPONSES)
		put_edge_responses(out, family, shm);
	else
		put_counter(out, family, sum_totals(sums, i == METRICS_SERIES_DROPPED));
}

static void put_family(struct buf *out, uint32_t i, const struct metrics_sums *sums, const struct shm *shm)
{
	const struct shm_family *family = &sums->families[i];
	bool any = false;

	put_text(out, "# HELP ");
	put_text(out, family->name);
	buf_char(out, ' ');
	put_text(out, family->help);
	put_text(out, "\n# TYPE ");
	put_text(out, family->name);
	buf_char(out, ' ');
	put_text(out, TYPES[family->type]);
	buf_char(out, '\n');
	if (family->flags & METRICS_COMPUTED) {
		put_computed(out, i, sums, shm);
		return;
	}
	for (int32_t s = sums->first[i]; s != METRICS_NO_SAMPLE; s = sums->samples[s].next) {
		if (!is_used(family, &sums->samples[s]))
			continue;
		put_sample(out, family, &sums->samples[s]);
		any = true;
	}
	if (!any)
		put_untouched(out, family);
}

void metrics_render(struct shm *shm, struct buf *out)
{
	struct metrics_sums sums;

	if (metrics_sums_init(&sums, shm)) {
		for (uint32_t i = 0; i < sums.families_n; i++)
			put_family(out, i, &sums, shm);
	} else {
		out->failed = true;
	}
	metrics_sums_release(&sums);
}

/* --- the file --- */

/* Writes `text` to `temp` and renames it to `path`. 0 or an errno. */
static int replace_file(const char *temp, const char *path, struct str text)
{
	int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	int error = 0;

	if (fd < 0)
		return errno;
	/* nginx runs as another user; the umask is not asked. */
	if (fchmod(fd, 0644) != 0)
		error = errno;
	while (error == 0 && text.n > 0) {
		ssize_t n = write(fd, text.p, text.n);
		if (n < 0 && errno != EINTR)
			error = errno;
		if (n > 0)
			text = (struct str){text.p + n, text.n - (size_t)n};
	}
	if (close(fd) != 0 && error == 0)
		error = errno;
	if (error == 0 && rename(temp, path) != 0)
		error = errno;
	if (error != 0)
		unlink(temp);
	return error;
}

static enum status render_to(struct shm *shm, const char *temp, const char *path, struct err *err)
{
	struct buf text;
	int error;

	buf_init_heap(&text);
	metrics_render(shm, &text);
	error = text.failed ? ENOMEM : replace_file(temp, path, buf_view(&text));
	buf_release(&text);
	if (error != 0)
		return err_set(err, STATUS_UNAVAILABLE, "The metrics can't be written to %s: %s.", path,
			       strerror(error));
	return STATUS_OK;
}

enum status metrics_write_file(struct shm *shm, const char *path, struct err *err)
{
	char *lock_path = NULL, *temp = NULL;
	enum status status;
	int lock = -1;

	if (asprintf(&lock_path, "%s/metrics.lock", shm->dir) < 0)
		lock_path = NULL;
	if (asprintf(&temp, "%s.new", path) < 0)
		temp = NULL;
	if (!lock_path || !temp) {
		status = err_set(err, STATUS_UNAVAILABLE, "There is no memory to write the metrics.");
		goto out;
	}
	lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (lock < 0)
		status = err_set(err, STATUS_UNAVAILABLE, "The lock %s can't be opened: %s.", lock_path,
				 strerror(errno));
	else if (flock(lock, LOCK_EX | LOCK_NB) != 0)
		status = err_set(err, STATUS_BUSY, "Another worker is writing the metrics.");
	else
		status = render_to(shm, temp, path, err);
out:
	if (lock >= 0)
		close(lock);
	free(temp);
	free(lock_path);
	return status;
}
