/* Asking for records: the SQL of a query, and its pages.
 *
 * A page begins behind a place (the keyset), so that the thousandth costs what the first does. Where records are sorted
 * by a field, "behind" is up to three ranges of one index, one after the other: the same value and a later number, then
 * the values beyond, and going down at last those without any. As one condition with OR they would be a scan.
 *
 * On SQLite an expression on JSON has a value of its own type, and numbers are less than all texts: one index serves
 * both, and a comparison of one kind is cut off where the other begins (''). PostgreSQL has a typed expression for
 * each.
 */
#include "store/records_impl.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>

#define COLUMNS "seq, pipeline_id, run, record_key, source, data, error, status, received_us, processed_us, seconds"
enum { COLUMNS_N = 11 };

static const struct column {
	struct str name; /* in a query */
	const char *sql;
	bool is_number;
} TABLE[] = {
	{STR_INIT("@received"), "received_us", true}, {STR_INIT("@processed"), "processed_us", true},
	{STR_INIT("@status"), "status", true},        {STR_INIT("@run"), "run", true},
	{STR_INIT("@source"), "source", false},       {STR_INIT("@key"), "record_key", false},
};

static const struct column *find_column(struct str field)
{
	for (size_t i = 0; i < sizeof(TABLE) / sizeof(TABLE[0]); i++)
		if (str_eq(field, TABLE[i].name))
			return &TABLE[i];
	return NULL;
}

bool records_is_column(struct str field)
{
	return find_column(field) != NULL;
}

bool record_field_is_good(struct str field)
{
	if (field.n == 0 || field.n > RECORD_FIELD_BYTES || !str_is_utf8(field))
		return false;
	for (size_t i = 0; i < field.n; i++)
		if ((unsigned char)field.p[i] < 0x20 || field.p[i] == 0x7f || field.p[i] == '"' || field.p[i] == '\\')
			return false;
	return true;
}

/* --- SQL --- */

void records_sql_init(struct records_sql *sql, const struct db *db)
{
	*sql = (struct records_sql){.dialect = db_dialect(db)};
	buf_init_heap(&sql->text);
	buf_init_heap(&sql->words);
}

void records_sql_release(struct records_sql *sql)
{
	buf_release(&sql->text);
	buf_release(&sql->words);
}

static void put(struct records_sql *sql, const char *text)
{
	buf_str(&sql->text, str_of(text));
}

void records_put_value(struct records_sql *sql, struct record_value value)
{
	if (sql->n == RECORDS_VALUES) {
		sql->text.failed = true;
		return;
	}
	sql->values[sql->n++] = value;
	buf_fmt(&sql->text, "$%d", sql->n);
}

static void put_number(struct records_sql *sql, double number)
{
	records_put_value(sql, (struct record_value){.kind = RECORD_NUMBER, .number = number});
}

static void put_text(struct records_sql *sql, struct str text)
{
	records_put_value(sql, (struct record_value){.kind = RECORD_TEXT, .text = text});
}

/* A checked name within a literal. */
static void put_name(struct records_sql *sql, struct str field)
{
	for (size_t i = 0; i < field.n; i++) {
		if (field.p[i] == '\'')
			buf_char(&sql->text, '\'');
		buf_char(&sql->text, field.p[i]);
	}
}

static void put_member(struct records_sql *sql, const char *before, struct str field, const char *after)
{
	put(sql, before);
	put_name(sql, field);
	put(sql, after);
}

void records_put_field(struct records_sql *sql, struct str field, bool is_number)
{
	const struct column *column = find_column(field);

	if (column) {
		put(sql, column->sql);
	} else if (sql->dialect == DB_DIALECT_SQLITE) {
		put_member(sql, "json_extract(data, '$.\"", field, "\"')");
	} else if (is_number) {
		put_member(sql, "(CASE json_typeof(data->'", field, "') WHEN 'number' THEN (data->>'");
		put_name(sql, field);
		put_member(sql, "')::double precision WHEN 'boolean' THEN (data->>'", field,
			   "')::boolean::int::double precision END)");
	} else {
		put_member(sql, "(CASE json_typeof(data->'", field, "') WHEN 'string' THEN data->>'");
		put_name(sql, field);
		put(sql, "' END COLLATE \"C\")");
	}
}

/* Its text whatever it is. */
static void put_spelling(struct records_sql *sql, struct str field)
{
	if (sql->dialect == DB_DIALECT_SQLITE || find_column(field)) {
		put(sql, "CAST(");
		records_put_field(sql, field, false);
		put(sql, " AS TEXT)");
	} else {
		put_member(sql, "(data->>'", field, "')");
	}
}

static const char *const OPERATORS[] = {[RECORD_EQ] = " = ",  [RECORD_NE] = " <> ", [RECORD_LT] = " < ",
					[RECORD_LE] = " <= ", [RECORD_GT] = " > ",  [RECORD_GE] = " >= "};

static void put_comparison(struct records_sql *sql, const struct record_filter *filter, bool is_number)
{
	records_put_field(sql, filter->field, is_number);
	put(sql, OPERATORS[filter->compare]);
	if (is_number)
		put_number(sql, filter->number);
	else
		put_text(sql, filter->text);
}

/* SQLite: where the values of the other kind begin. Needed where the comparison leaves them in. */
static void put_border(struct records_sql *sql, const struct record_filter *filter, bool is_number)
{
	enum record_compare compare = filter->compare;
	bool up = compare == RECORD_GT || compare == RECORD_GE || compare == RECORD_NE;
	bool down = compare == RECORD_LT || compare == RECORD_LE || compare == RECORD_NE;

	if (sql->dialect != DB_DIALECT_SQLITE || find_column(filter->field) || !(is_number ? up : down))
		return;
	put(sql, " AND ");
	records_put_field(sql, filter->field, is_number);
	put(sql, is_number ? " < ''" : " >= ''");
}

/* Whole numbers of the table's own columns are part of the text. */
static void put_column_filter(struct records_sql *sql, const struct column *column, const struct record_filter *filter)
{
	put(sql, column->sql);
	put(sql, OPERATORS[filter->compare]);
	if (column->is_number)
		buf_fmt(&sql->text, "%" PRId64, (int64_t)filter->number);
	else
		put_text(sql, filter->text);
}

void records_put_filter(struct records_sql *sql, const struct record_filter *filter)
{
	const struct column *column = find_column(filter->field);
	bool both = filter->is_number && filter->is_text &&
		    (filter->compare == RECORD_EQ || filter->compare == RECORD_NE);

	put(sql, " AND (");
	if (filter->compare == RECORD_ABSENT) {
		if (sql->dialect == DB_DIALECT_SQLITE)
			records_put_field(sql, filter->field, false);
		else
			put_spelling(sql, filter->field);
		put(sql, " IS NULL");
	} else if (filter->compare == RECORD_CONTAINS) {
		put(sql, sql->dialect == DB_DIALECT_SQLITE ? "instr(" : "strpos(");
		put_spelling(sql, filter->field);
		put(sql, ", ");
		put_text(sql, filter->text);
		put(sql, ") > 0");
	} else if (column) {
		put_column_filter(sql, column, filter);
	} else if (both && sql->dialect == DB_DIALECT_SQLITE) {
		records_put_field(sql, filter->field, true);
		put(sql, filter->compare == RECORD_EQ ? " IN (" : " NOT IN (");
		put_number(sql, filter->number);
		put(sql, ", ");
		put_text(sql, filter->text);
		put(sql, ")");
	} else {
		if (filter->is_number || !filter->is_text)
			put_comparison(sql, filter, true);
		put(sql, both ? " OR " : "");
		if (filter->is_text && (both || !filter->is_number))
			put_comparison(sql, filter, false);
		put_border(sql, filter, filter->is_number);
	}
	put(sql, ")");
}

/* Words for FTS5: each is a phrase in quotation marks, so that nothing in it is an operator. */
static void put_words(struct records_sql *sql, struct str search)
{
	struct buf *words = &sql->words;
	struct str rest = search;

	if (sql->dialect != DB_DIALECT_SQLITE) {
		put_text(sql, search);
		return;
	}
	while (rest.n > 0) {
		struct str word = str_cut(&rest, ' ');
		if (word.n == 0)
			continue;
		buf_str(words, STR("\""));
		for (size_t i = 0; i < word.n; i++) {
			if (word.p[i] == '"')
				buf_char(words, '"');
			buf_char(words, word.p[i]);
		}
		buf_str(words, STR("\" "));
	}
	sql->text.failed |= words->failed;
	put_text(sql, buf_view(words));
}

void records_put_from(struct records_sql *sql, const struct record_query *query, const char *index)
{
	put(sql, " FROM ");
	if (query->search.n > 0 && sql->dialect == DB_DIALECT_SQLITE)
		put(sql, "data_search CROSS JOIN data_records ON seq = data_search.rowid");
	else if (query->search.n > 0)
		put(sql, "data_records JOIN data_search ON data_search.rowid = seq");
	else if (index[0])
		buf_fmt(&sql->text, "data_records INDEXED BY %s", index);
	else
		put(sql, "data_records");
}

/* Conditions that cost little stand first. */
void records_put_where(struct records_sql *sql, const struct record_query *query)
{
	if (query->pipeline_id != 0)
		buf_fmt(&sql->text, " WHERE pipeline_id = %" PRId64, query->pipeline_id);
	else
		put(sql, " WHERE 1 = 1");
	if (query->search.n > 0) {
		put(sql, sql->dialect == DB_DIALECT_SQLITE
				 ? " AND data_search MATCH "
				 : " AND to_tsvector('simple', text) @@ plainto_tsquery('simple', ");
		put_words(sql, query->search);
		put(sql, sql->dialect == DB_DIALECT_SQLITE ? "" : ")");
	}
	for (int i = 0; i < query->filters_n; i++)
		if (records_is_column(query->filters[i].field))
			records_put_filter(sql, &query->filters[i]);
	for (int i = 0; i < query->filters_n; i++)
		if (!records_is_column(query->filters[i].field))
			records_put_filter(sql, &query->filters[i]);
}

/* --- checking --- */

/* PostgreSQL has no text with a NUL. */
static bool is_text(struct str text)
{
	return str_is_utf8(text) && (text.n == 0 || !memchr(text.p, '\0', text.n));
}

static enum status check_field(struct str field, struct err *err)
{
	if (field.n > 0 && field.p[0] == '@' && records_is_column(field))
		return STATUS_OK;
	return record_field_is_good(field)
		       ? STATUS_OK
		       : err_set(err, STATUS_INVALID,
				 "A field's name should have 1 to %d bytes, without quotation marks and backslashes.",
				 RECORD_FIELD_BYTES);
}

enum status records_check_query(const struct record_query *query, struct err *err)
{
	enum status status = query->sort.n > 0 ? check_field(query->sort, err) : STATUS_OK;

	if (query->filters_n < 0 || query->filters_n > RECORD_FILTERS_MAX)
		return err_set(err, STATUS_INVALID, "A query should have at most %d conditions.", RECORD_FILTERS_MAX);
	if (query->search.n > RECORD_SEARCH_BYTES || !is_text(query->search))
		return err_set(err, STATUS_INVALID, "The words to search for should be UTF-8 of at most %d bytes.",
			       RECORD_SEARCH_BYTES);
	for (int i = 0; status == STATUS_OK && i < query->filters_n; i++) {
		const struct record_filter *filter = &query->filters[i];
		status = check_field(filter->field, err);
		if (status == STATUS_OK && filter->is_text && !is_text(filter->text))
			status = err_set(err, STATUS_INVALID, "The value for %.*s should be UTF-8.",
					 STR_ARG(filter->field));
	}
	return status;
}

enum status records_prepare(struct db *db, struct records_sql *sql, int within_ms, struct stmt **out, struct err *err)
{
	*out = NULL;
	buf_char(&sql->text, '\0');
	if (sql->text.failed)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a query");
	enum status status = db_prepare_once(db, sql->text.p, within_ms, out, err);
	if (status != STATUS_OK)
		return status;
	for (int i = 0; i < sql->n; i++) {
		const struct record_value *value = &sql->values[i];
		if (value->kind == RECORD_NUMBER)
			db_bind_double(*out, i + 1, value->number);
		else
			db_bind_text(*out, i + 1, value->text);
	}
	return STATUS_OK;
}

/* The field that an index would have helped with. */
static struct str slow_field(const struct record_query *query)
{
	for (int i = 0; i < query->filters_n; i++)
		if (!records_is_column(query->filters[i].field) && query->filters[i].compare < RECORD_CONTAINS &&
		    query->filters[i].compare != RECORD_NE)
			return query->filters[i].field;
	return records_is_column(query->sort) ? (struct str){0} : query->sort;
}

enum status records_explain(const struct record_query *query, enum status status, struct err *err)
{
	struct str field = slow_field(query);

	if (status != STATUS_LIMITED)
		return status;
	if (field.n == 0)
		return err_set(err, STATUS_INVALID,
			       "This takes longer than %d ms, for too many records are looked at: narrow it, by the "
			       "time or by a field with an index.",
			       query->within_ms);
	return err_set(err, STATUS_INVALID,
		       "This takes longer than %d ms: give the field \"%.*s%s\" an index (\"index\": true in the "
		       "pipeline), or narrow it.",
		       query->within_ms, (int)(field.n < 60 ? field.n : 60), field.p, field.n > 60 ? "…" : "");
}

struct record_value records_read_value(struct stmt *stmt, enum db_dialect dialect, int c, bool is_number)
{
	struct record_value value = {.kind = RECORD_NOTHING};

	if (db_column_is_null(stmt, c))
		return value;
	if (dialect == DB_DIALECT_SQLITE)
		is_number = !str_eq(db_column_text(stmt, c + 1), STR("text"));
	value.kind = is_number ? RECORD_NUMBER : RECORD_TEXT;
	if (is_number)
		value.number = db_column_double(stmt, c);
	else
		value.text = db_column_text(stmt, c);
	return value;
}

/* --- pages --- */

enum part { PART_ALL, PART_SAME, PART_BEYOND, PART_NOTHING };

struct page {
	struct db *db;
	const struct record_query *query;
	record_row_fn *fn;
	void *arg;
	char index[RECORDS_INDEX_BYTES];
	uint64_t end_ms; /* 0: never */
	int given;
	bool enough;
};

static void put_sort(struct records_sql *sql, const struct record_query *query)
{
	records_put_field(sql, query->sort, query->sort_is_number);
}

static void put_after_value(struct records_sql *sql, const struct record_query *query)
{
	struct record_value value = query->after;

	/* On PostgreSQL an expression has but one type: what is of the other compares with nothing. */
	if (sql->dialect != DB_DIALECT_SQLITE && (value.kind == RECORD_NUMBER) != query->sort_is_number)
		put(sql, "NULL");
	else
		records_put_value(sql, value);
}

static void put_part(struct records_sql *sql, const struct record_query *query, enum part part)
{
	bool none = query->after.kind == RECORD_NOTHING;

	if (part == PART_ALL && !query->has_after)
		return;
	if (part == PART_SAME || part == PART_BEYOND || part == PART_NOTHING) {
		put(sql, " AND ");
		put_sort(sql, query);
	}
	if (part == PART_NOTHING || (part == PART_SAME && none)) {
		put(sql, " IS NULL");
	} else if (part == PART_BEYOND && none) {
		put(sql, " IS NOT NULL");
	} else if (part != PART_ALL) {
		put(sql, part == PART_SAME ? " = " : query->descending ? " < " : " > ");
		put_after_value(sql, query);
	}
	if (part == PART_ALL || part == PART_SAME)
		buf_fmt(&sql->text, " AND seq %c %" PRId64, query->descending ? '<' : '>', query->after_seq);
}

/* SQLite's full-text index gives its rows in the order of their numbers by itself, if it is asked for that. */
static void put_order(struct records_sql *sql, const struct record_query *query, enum part part, bool from_search)
{
	const char *down = query->descending ? " DESC" : "";

	put(sql, " ORDER BY ");
	if (query->sort.n > 0 && (part == PART_ALL || part == PART_BEYOND)) {
		put_sort(sql, query);
		put(sql, down);
		if (sql->dialect != DB_DIALECT_SQLITE)
			put(sql, query->descending ? " NULLS LAST" : " NULLS FIRST");
		put(sql, ", ");
	}
	put(sql, from_search ? "data_search.rowid" : "seq");
	put(sql, down);
}

static void write_part(struct records_sql *sql, const struct page *page, enum part part)
{
	const struct record_query *query = page->query;
	bool from_search = query->search.n > 0 && sql->dialect == DB_DIALECT_SQLITE && query->sort.n == 0;

	put(sql, "SELECT " COLUMNS);
	if (query->sort.n > 0) {
		put(sql, ", ");
		put_sort(sql, query);
		if (sql->dialect == DB_DIALECT_SQLITE) {
			put(sql, ", typeof(");
			put_sort(sql, query);
			put(sql, ")");
		}
	}
	records_put_from(sql, query, page->index);
	records_put_where(sql, query);
	put_part(sql, query, part);
	if (from_search && query->has_after)
		buf_fmt(&sql->text, " AND data_search.rowid %c %" PRId64, query->descending ? '<' : '>',
			query->after_seq);
	put_order(sql, query, part, from_search);
	buf_fmt(&sql->text, " LIMIT %d", query->limit - page->given);
}

static void read_row(struct stmt *stmt, struct record_row *row)
{
	row->seq = db_column_i64(stmt, 0);
	row->pipeline_id = db_column_i64(stmt, 1);
	row->run = db_column_i64(stmt, 2);
	row->key = db_column_text(stmt, 3);
	row->source = db_column_text(stmt, 4);
	row->data = db_column_text(stmt, 5);
	row->error = db_column_text(stmt, 6);
	row->status = (enum record_status)db_column_i64(stmt, 7);
	row->received_us = db_column_i64(stmt, 8);
	row->processed_us = db_column_i64(stmt, 9);
	row->seconds = db_column_double(stmt, 10);
}

static enum status give_rows(struct page *page, struct stmt *stmt, struct err *err)
{
	const struct record_query *query = page->query;
	enum db_dialect dialect = db_dialect(page->db);
	enum status status = STATUS_OK;
	bool there;

	while (!page->enough && (status = db_step(stmt, &there, err)) == STATUS_OK && there) {
		struct record_row row = {0};
		struct record_value sort = {.kind = RECORD_NOTHING};
		read_row(stmt, &row);
		if (query->sort.n > 0)
			sort = records_read_value(stmt, dialect, COLUMNS_N, query->sort_is_number);
		page->given++;
		page->enough = !page->fn(page->arg, &row, &sort) || page->given == query->limit;
	}
	return status;
}

static enum status read_part(struct page *page, enum part part, struct err *err)
{
	struct records_sql sql;
	struct stmt *stmt = NULL;
	uint64_t now = clock_mono_ms();
	enum status status = STATUS_OK;

	if (page->enough)
		return STATUS_OK;
	if (page->end_ms > 0 && now >= page->end_ms)
		return err_set(err, STATUS_LIMITED, "the query took too long");
	records_sql_init(&sql, page->db);
	write_part(&sql, page, part);
	status = records_prepare(page->db, &sql, page->end_ms > 0 ? (int)(page->end_ms - now) : 0, &stmt, err);
	if (status == STATUS_OK && stmt)
		status = give_rows(page, stmt, err);
	db_finish(stmt);
	records_sql_release(&sql);
	return status;
}

enum status records_query(struct db *db, const struct record_query *query, record_row_fn *fn, void *arg,
			  struct err *err)
{
	struct page page = {.db = db, .query = query, .fn = fn, .arg = arg};
	bool ranges = query->has_after && query->sort.n > 0;
	bool none = query->after.kind == RECORD_NOTHING;

	enum status status = records_check_query(query, err);
	if (status != STATUS_OK || query->limit <= 0)
		return status;
	page.end_ms = query->within_ms > 0 ? clock_mono_ms() + (uint64_t)query->within_ms : 0;
	status = records_choose_index(db, query, page.index, err);
	if (status == STATUS_OK)
		status = read_part(&page, ranges ? PART_SAME : PART_ALL, err);
	if (status == STATUS_OK && ranges && !(query->descending && none))
		status = read_part(&page, PART_BEYOND, err);
	if (status == STATUS_OK && ranges && query->descending && !none)
		status = read_part(&page, PART_NOTHING, err);
	return records_explain(query, status, err);
}
