/* Adding up the metrics of all segments, this version's and others'.
 *
 * Counters and histograms are summed over all slots that ever were used, whether their workers live or not. A gauge is
 * one live worker's, the one set last where several set the same. Series of different segments meet by the name of the
 * family and the text of their labels; families must also have the same type and buckets, or they are left out. */
#include "shared/metrics_impl.h"

#include <math.h>
#include <stdlib.h>

/* --- what other segments say is checked before it is printed --- */

static bool is_name_char(char c, bool first, bool colon)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (colon && c == ':') ||
	       (!first && c >= '0' && c <= '9');
}

static bool name_fits(const char *name, size_t size)
{
	size_t n = strnlen(name, size);
	bool ok = n > 0 && n < size;

	for (size_t i = 0; ok && i < n; i++)
		ok = is_name_char(name[i], i == 0, true);
	return ok;
}

static bool help_fits(const char *help, size_t size)
{
	size_t n = strnlen(help, size);

	return n < size && !memchr(help, '\n', n) && !memchr(help, '\\', n) && str_is_utf8((struct str){help, n});
}

static bool family_fits(const struct shm_family *family)
{
	bool ok = name_fits(family->name, sizeof(family->name)) && help_fits(family->help, sizeof(family->help)) &&
		  family->type < METRICS_TYPE__MAX && !(family->flags & METRICS_COMPUTED);
	uint32_t n = metrics_bounds(family);

	for (uint32_t i = 0; ok && i < n; i++)
		ok = isfinite(family->bounds[i]) && (i == 0 || family->bounds[i] > family->bounds[i - 1]);
	return ok;
}

/* name="value",name="value", with values escaped; or nothing. */
static bool labels_fit(struct str text)
{
	const char *at = text.p, *end = text.p + text.n;

	if (!str_is_utf8(text))
		return false;
	while (at < end) {
		const char *name = at;
		while (at < end && is_name_char(*at, at == name, false))
			at++;
		if (at == name || end - at < 2 || at[0] != '=' || at[1] != '"')
			return false;
		for (at += 2; at < end && *at != '"' && *at != '\n'; at++)
			if (*at == '\\' && (++at == end || !strchr("n\"\\", *at)))
				return false;
		if (at == end || *at++ != '"')
			return false;
		if (at < end && (*at++ != ',' || at == end))
			return false;
	}
	return true;
}

/* --- families --- */

static bool families_agree(const struct shm_family *a, const struct shm_family *b)
{
	static const uint32_t MATTER = METRICS_SHARED | METRICS_SECONDS | METRICS_COMPUTED;

	if (a->type != b->type || (a->flags & MATTER) != (b->flags & MATTER))
		return false;
	/* Comparing bytes: bounds are constants of the source, and equal ones have equal bits.
	 * NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
	return memcmp(a->bounds, b->bounds, sizeof(a->bounds)) == 0;
}

/* The family in the sums, added where it is new; -1 when it can't be used. */
static int merge_family(struct metrics_sums *sums, const struct shm_family *family)
{
	if (!family_fits(family))
		return -1;
	for (uint32_t i = 0; i < sums->families_n; i++)
		if (strcmp(sums->families[i].name, family->name) == 0)
			return families_agree(&sums->families[i], family) ? (int)i : -1;
	sums->families[sums->families_n] = *family;
	return (int)sums->families_n++;
}

/* --- samples --- */

/* The sample of these labels, added where it is new. There is room: it was counted before. */
static struct metrics_sample *merge_sample(struct metrics_sums *sums, uint32_t family, struct str text)
{
	uint64_t hash = shm_fnv(shm_fnv(SHM_FNV_START, &family, sizeof(family)), text.p, text.n);
	uint32_t place = (uint32_t)(hash >> 32) & sums->table_mask;

	for (; sums->table[place] != METRICS_NO_SAMPLE; place = (place + 1) & sums->table_mask) {
		struct metrics_sample *s = &sums->samples[sums->table[place]];
		if (s->hash == hash && s->family == family && str_eq(s->text, text))
			return s;
	}
	int32_t i = (int32_t)sums->samples_n++;
	sums->table[place] = i;
	sums->samples[i] = (struct metrics_sample){
		.next = METRICS_NO_SAMPLE,
		.family = family,
		.hash = hash,
		.text = text,
		.values = sums->values + sums->values_n,
		.when = -1,
	};
	sums->values_n += metrics_cells(&sums->families[family]);
	if (sums->last[family] == METRICS_NO_SAMPLE)
		sums->first[family] = i;
	else
		sums->samples[sums->last[family]].next = i;
	sums->last[family] = i;
	return &sums->samples[i];
}

static void merge_gauge(struct metrics_sample *sample, const _Atomic uint64_t *cell)
{
	int64_t when = (int64_t)atomic_load_explicit(&cell[METRICS_GAUGE_WHEN], memory_order_relaxed);

	if (when <= sample->when)
		return;
	sample->values[0] = atomic_load_explicit(&cell[METRICS_GAUGE_VALUE], memory_order_relaxed);
	sample->when = when;
}

/* Adds one slot's cells of a series, or the shared row's (`slot` NULL). */
static void merge_row(struct metrics_sample *sample, const struct shm_family *family, const struct shm_slot *slot,
		      bool live, const _Atomic uint64_t *cell)
{
	uint32_t generation = slot ? atomic_load_explicit(&slot->generation, memory_order_relaxed) : 0;

	if (family->type == METRICS_GAUGE) {
		uint64_t set = atomic_load_explicit(&cell[METRICS_GAUGE_GENERATION], memory_order_acquire);
		bool shared = family->flags & METRICS_SHARED;
		if (shared == !slot && (shared || live) && set != 0 && (shared || set == generation))
			merge_gauge(sample, cell);
		return;
	}
	if (generation == 0)
		return;
	uint32_t n = metrics_cells(family);
	for (uint32_t i = 0; i < n; i++)
		sample->values[i] += atomic_load_explicit(&cell[i], memory_order_relaxed);
}

static void merge_series(struct metrics_sums *sums, const struct shm_view *view, uint32_t i, const int *map)
{
	struct shm_series s;
	uint32_t cells_in_row = view->d.rows.size / 8;

	memcpy(&s, shm_view_at(view, view->d.series, i), sizeof(s));
	if (s.family >= view->d.families.n || map[s.family] < 0 || s.text > view->d.texts.size)
		return;
	const struct shm_family *family = &sums->families[map[s.family]];
	struct str text = {shm_view_at(view, view->d.texts, i), s.text};
	if (s.cells != metrics_cells(family) || s.cells > cells_in_row || s.cell > cells_in_row - s.cells ||
	    (view->mapped && !labels_fit(text)))
		return;
	struct metrics_sample *sample = merge_sample(sums, (uint32_t)map[s.family], text);
	for (uint32_t r = 0; r < view->d.rows.n; r++) {
		bool is_slot = r < view->d.slots.n;
		const _Atomic uint64_t *row = shm_view_at(view, view->d.rows, r);
		merge_row(sample, family, is_slot ? shm_view_at(view, view->d.slots, r) : NULL,
			  is_slot && view->live[r], row + s.cell);
	}
}

static void merge_view(struct metrics_sums *sums, const struct shm_view *view)
{
	int map[SHM_VIEW_FAMILIES] = {0};

	for (uint32_t i = 0; i < view->d.families.n; i++) {
		struct shm_family family;
		memcpy(&family, shm_view_at(view, view->d.families, i), sizeof(family));
		map[i] = merge_family(sums, &family);
	}
	for (uint32_t i = 0; i < view->series; i++)
		merge_series(sums, view, i, map);
}

/* Room for everything, as if no two segments had anything in common. */
static bool make_room(struct metrics_sums *sums)
{
	uint32_t families = METRICS__MAX, samples = 0, places = 64;

	for (int i = 0; i < sums->views_n; i++) {
		families += sums->views[i].d.families.n;
		samples += sums->views[i].series;
	}
	while (places < samples * 2)
		places *= 2;
	sums->table_mask = places - 1;
	sums->families = calloc(families, sizeof(*sums->families));
	sums->first = malloc(families * sizeof(*sums->first));
	sums->last = malloc(families * sizeof(*sums->last));
	sums->samples = calloc(samples + 1u, sizeof(*sums->samples));
	sums->values = calloc(((size_t)samples + 1) * (METRICS_MAX_BUCKETS + 2), sizeof(*sums->values));
	sums->table = malloc(places * sizeof(*sums->table));
	if (!sums->families || !sums->first || !sums->last || !sums->samples || !sums->values || !sums->table)
		return false;
	for (uint32_t i = 0; i < families; i++)
		sums->first[i] = sums->last[i] = METRICS_NO_SAMPLE;
	for (uint32_t i = 0; i < places; i++)
		sums->table[i] = METRICS_NO_SAMPLE;
	return true;
}

bool metrics_sums_init(struct metrics_sums *sums, const struct shm *shm)
{
	*sums = (struct metrics_sums){.views = calloc(SHM_VIEWS, sizeof(*sums->views))};
	if (!sums->views)
		return false;
	sums->views_n = shm_views_open(shm, sums->views);
	if (!make_room(sums))
		return false;
	memcpy(sums->families, metrics_families, sizeof(metrics_families));
	sums->families_n = METRICS__MAX;
	for (int i = 0; i < sums->views_n; i++)
		merge_view(sums, &sums->views[i]);
	return true;
}

void metrics_sums_release(struct metrics_sums *sums)
{
	if (sums->views)
		shm_views_close(sums->views, sums->views_n);
	free(sums->views);
	free(sums->families);
	free(sums->first);
	free(sums->last);
	free(sums->samples);
	free(sums->values);
	free(sums->table);
}
