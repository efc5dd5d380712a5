/* Numbers about records, by group. One pass reads two values of each record; all else is computed here, so that both
 * engines say the same. Memory is bounded: the values that quantiles and histogram need are kept while they are at most
 * RECORD_VALUES_MAX; from then on every second is forgotten, and only every second, fourth, … kept, by chance. */
#include "store/records_impl.h"

#include "base/clock.h"

#include <math.h>
#include <sodium.h>
#include <stdlib.h>

struct gathering {
	struct record_group group;
	double *values; /* heap */
	size_t n, cap;
};

struct aggregate {
	const struct record_wish *wish;
	struct arena *arena;
	struct gathering *groups; /* in the order of their values' first appearance */
	int n;
	int *table;             /* open addressing: number of a group and one; 0: free */
	struct gathering *last; /* where the record before went */
	size_t kept;
	uint64_t mask; /* a value is kept when these bits of a random number are 0 */
	uint64_t random;
	bool no_memory, too_many;
};

enum { TABLE_SIZE = 4096 };

/* --- groups --- */

static bool is_same(const struct record_value *a, const struct record_value *b)
{
	if (a->kind != b->kind)
		return false;
	return a->kind == RECORD_NUMBER ? a->number == b->number
					: a->kind == RECORD_NOTHING || str_eq(a->text, b->text);
}

static size_t hash_value(const struct record_value *value)
{
	uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
	struct str bytes = value->text;
	const double number = value->number + 0.0; /* -0 is 0 */

	if (value->kind == RECORD_NUMBER)
		bytes = (struct str){(const char *)&number, sizeof(number)};
	else if (value->kind == RECORD_NOTHING)
		bytes = (struct str){0};
	for (size_t i = 0; i < bytes.n; i++)
		hash = (hash ^ (unsigned char)bytes.p[i]) * UINT64_C(1099511628211);
	return (size_t)(hash ^ hash >> 32) % TABLE_SIZE;
}

static struct gathering *add_group(struct aggregate *a, const struct record_value *value, int *slot)
{
	if (a->n == RECORD_GROUPS_MAX) {
		a->too_many = true;
		return NULL;
	}
	struct gathering *g = &a->groups[a->n];
	g->group.value = *value;
	g->group.min = INFINITY;
	g->group.max = -INFINITY;
	if (value->kind == RECORD_TEXT)
		g->group.value.text = arena_dup(a->arena, value->text);
	if (value->kind == RECORD_TEXT && !g->group.value.text.p) {
		a->no_memory = true;
		return NULL;
	}
	*slot = ++a->n;
	return g;
}

static struct gathering *find_group(struct aggregate *a, const struct record_value *value)
{
	if (a->last && is_same(&a->last->group.value, value))
		return a->last;
	for (size_t i = hash_value(value);; i = (i + 1) % TABLE_SIZE) {
		if (a->table[i] == 0)
			return add_group(a, value, &a->table[i]);
		if (is_same(&a->groups[a->table[i] - 1].group.value, value))
			return &a->groups[a->table[i] - 1];
	}
}

/* --- values --- */

/* xorshift64*: what is picked need not be secret. */
static uint64_t next_random(struct aggregate *a)
{
	a->random ^= a->random >> 12;
	a->random ^= a->random << 25;
	a->random ^= a->random >> 27;
	return (a->random * UINT64_C(2685821657736338717)) >> 20;
}

static void forget_half(struct aggregate *a)
{
	a->kept = 0;
	a->mask = a->mask << 1 | 1;
	for (int i = 0; i < a->n; i++) {
		struct gathering *g = &a->groups[i];
		size_t n = 0;
		for (size_t k = 0; k < g->n; k++)
			if (next_random(a) & 1)
				g->values[n++] = g->values[k];
		g->n = n;
		a->kept += n;
	}
}

static void keep_value(struct aggregate *a, struct gathering *g, double value)
{
	if (a->wish->quantiles_n == 0 && a->wish->buckets == 0)
		return;
	if (a->mask != 0 && (next_random(a) & a->mask) != 0)
		return;
	if (a->kept >= RECORD_VALUES_MAX)
		forget_half(a);
	if (g->n == g->cap) {
		size_t cap = g->cap ? 2 * g->cap : 64;
		double *values = realloc(g->values, cap * sizeof(*values));
		if (!values) {
			a->no_memory = true;
			return;
		}
		g->values = values;
		g->cap = cap;
	}
	g->values[g->n++] = value;
	a->kept++;
}

static void add_record(struct aggregate *a, const struct record_value *by, const struct record_value *field)
{
	struct gathering *g = find_group(a, by);

	a->last = g;
	if (!g)
		return;
	g->group.count++;
	if (field->kind != RECORD_NUMBER)
		return;
	g->group.numbers++;
	g->group.sum += field->number;
	g->group.min = fmin(g->group.min, field->number);
	g->group.max = fmax(g->group.max, field->number);
	keep_value(a, g, field->number);
}

/* --- the pass --- */

static void put_column(struct records_sql *sql, struct str field, bool is_number)
{
	if (field.n == 0) {
		buf_str(&sql->text, sql->dialect == DB_DIALECT_SQLITE ? STR("NULL, 'null'") : STR("NULL"));
		return;
	}
	records_put_field(sql, field, is_number);
	if (sql->dialect == DB_DIALECT_SQLITE) {
		buf_str(&sql->text, STR(", typeof("));
		records_put_field(sql, field, is_number);
		buf_str(&sql->text, STR(")"));
	}
}

static enum status read_all(struct db *db, const struct record_query *query, struct aggregate *a, struct err *err)
{
	enum db_dialect dialect = db_dialect(db);
	char index[RECORDS_INDEX_BYTES];
	struct records_sql sql;
	struct stmt *stmt = NULL;
	bool there;
	const int second = dialect == DB_DIALECT_SQLITE ? 2 : 1;

	enum status status = records_choose_index(db, query, index, err);
	if (status != STATUS_OK)
		return status;
	records_sql_init(&sql, db);
	buf_str(&sql.text, STR("SELECT "));
	put_column(&sql, a->wish->by, a->wish->by_number);
	buf_str(&sql.text, STR(", "));
	put_column(&sql, a->wish->field, true);
	records_put_from(&sql, query, index);
	records_put_where(&sql, query);
	status = records_prepare(db, &sql, query->within_ms, &stmt, err);
	while (status == STATUS_OK && !a->no_memory && !a->too_many &&
	       (status = db_step(stmt, &there, err)) == STATUS_OK && there) {
		const struct record_value by = records_read_value(stmt, dialect, 0, a->wish->by_number);
		const struct record_value field = records_read_value(stmt, dialect, second, true);
		add_record(a, &by, &field);
	}
	db_finish(stmt);
	records_sql_release(&sql);
	return status;
}

/* --- the result --- */

static int compare_numbers(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The largest first; of the same size as they appeared. */
static int compare_groups(const void *a, const void *b)
{
	const struct gathering *x = a, *y = b;

	if (x->group.count != y->group.count)
		return x->group.count < y->group.count ? 1 : -1;
	return x < y ? -1 : x > y;
}

/* Between the two nearest values, linearly: as NumPy and percentile_cont() have it. */
static double quantile(const struct gathering *g, double p)
{
	double at = p * (double)(g->n - 1);
	size_t i = (size_t)at;
	double rest = at - (double)i;

	if (i + 1 >= g->n)
		return g->values[g->n - 1];
	return g->values[i] + rest * (g->values[i + 1] - g->values[i]);
}

static bool fill_buckets(const struct aggregate *a, struct gathering *g, const struct record_summary *out)
{
	int n = a->wish->buckets;
	double width = (out->max - out->min) / n;
	double scale = g->n > 0 ? (double)g->group.numbers / (double)g->n : 0.0;

	g->group.buckets = arena_zalloc(a->arena, (size_t)n * sizeof(int64_t));
	if (!g->group.buckets)
		return false;
	for (size_t i = 0; i < g->n; i++) {
		double at = width > 0 ? (g->values[i] - out->min) / width : 0.0;
		int bucket = at >= n ? n - 1 : at > 0 ? (int)at : 0;
		g->group.buckets[bucket]++;
	}
	for (int i = 0; i < n && scale > 1.0; i++)
		g->group.buckets[i] = llround(scale * (double)g->group.buckets[i]);
	return true;
}

static enum status summarise(struct aggregate *a, struct record_summary *out, struct err *err)
{
	*out = (struct record_summary){.n = a->n, .min = INFINITY, .max = -INFINITY, .sampled = a->mask != 0};
	out->groups = arena_zalloc(a->arena, (size_t)(a->n + 1) * sizeof(*out->groups));
	bool good = out->groups != NULL;
	qsort(a->groups, (size_t)a->n, sizeof(*a->groups), compare_groups);
	for (int i = 0; i < a->n; i++) {
		out->min = fmin(out->min, a->groups[i].group.min);
		out->max = fmax(out->max, a->groups[i].group.max);
	}
	for (int i = 0; good && i < a->n; i++) {
		struct gathering *g = &a->groups[i];
		if (g->n > 0)
			qsort(g->values, g->n, sizeof(*g->values), compare_numbers);
		for (int k = 0; k < a->wish->quantiles_n && g->n > 0; k++)
			g->group.quantiles[k] = quantile(g, a->wish->quantiles[k]);
		good = a->wish->buckets == 0 || fill_buckets(a, g, out);
		out->groups[i] = g->group;
	}
	return good ? STATUS_OK : err_set(err, STATUS_NO_MEMORY, "no memory for the aggregates");
}

static enum status check_wish(const struct record_query *query, const struct record_wish *wish, struct err *err)
{
	/* As conditions they are checked in the same way. */
	struct record_query fields = {.filters_n = 0};

	if (wish->field.n > 0)
		fields.filters[fields.filters_n++] = (struct record_filter){.field = wish->field};
	if (wish->by.n > 0)
		fields.filters[fields.filters_n++] = (struct record_filter){.field = wish->by};
	if (wish->buckets < 0 || wish->buckets > RECORD_BUCKETS_MAX || wish->quantiles_n > RECORD_QUANTILES_MAX)
		return err_set(err, STATUS_INVALID, "At most %d quantiles and %d buckets can be asked for.",
			       RECORD_QUANTILES_MAX, RECORD_BUCKETS_MAX);
	enum status status = records_check_query(&fields, err);
	return status == STATUS_OK ? records_check_query(query, err) : status;
}

enum status records_aggregate(struct db *db, const struct record_query *query, const struct record_wish *wish,
			      struct arena *arena, struct record_summary *out, struct err *err)
{
	struct record_query all = *query;
	struct aggregate a = {.wish = wish, .arena = arena};

	all.sort = (struct str){0};
	all.has_after = false;
	enum status status = check_wish(&all, wish, err);
	if (status != STATUS_OK)
		return status;
	a.groups = calloc(RECORD_GROUPS_MAX, sizeof(*a.groups));
	a.table = calloc(TABLE_SIZE, sizeof(*a.table));
	randombytes_buf(&a.random, sizeof(a.random));
	a.random |= 1;
	a.no_memory = !a.groups || !a.table;
	if (!a.no_memory)
		status = read_all(db, &all, &a, err);
	if (a.no_memory)
		status = err_set(err, STATUS_NO_MEMORY, "no memory for the aggregates");
	else if (a.too_many)
		status = err_set(err, STATUS_INVALID,
				 "There are more than %d groups: group by a field with fewer values.",
				 RECORD_GROUPS_MAX);
	else if (status == STATUS_OK)
		status = summarise(&a, out, err);
	for (int i = 0; a.groups && i < a.n; i++)
		free(a.groups[i].values);
	free(a.groups);
	free(a.table);
	return records_explain(&all, status, err);
}
