/* What a source looks like: how its lines end, what is between its cells, what its columns are called. Found out from
 * the first 64 KiB, or up to the end of the header where that is longer. */
#include "pipeline/reader_impl.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	HEAD_BYTES = 64 * 1024,
	CONTROLS_MAX = 4,    /* characters that no text has, and one in a hundred bytes more */
	SAMPLE_RECORDS = 50, /* that a delimiter is tried on */
	NAME_MAX_BYTES = 512,
};

/* Files that people take for tables, and what to do about them. */
static const struct other {
	struct str magic;
	const char *what;
} OTHERS[] = {
	{STR_INIT("PK\x03\x04"), "an Excel workbook or a ZIP archive; save the sheet as CSV"},
	{STR_INIT("\xd0\xcf\x11\xe0"), "an old Excel workbook; save the sheet as CSV"},
	{STR_INIT("%PDF"), "a PDF"},
	{STR_INIT("PAR1"), "a Parquet file; write it as CSV"},
	{STR_INIT("SQLite format 3"), "a SQLite database; write the table as CSV"},
	{STR_INIT("\x1f\x8b"), "packed twice; unpack it once"},
	{STR_INIT("\x28\xb5\x2f\xfd"), "packed with zstd; unpack it, or pack it with gzip"},
	{STR_INIT("BZh"), "packed with bzip2; unpack it, or pack it with gzip"},
	{STR_INIT("\xfd"
		  "7zXZ"),
	 "packed with xz; unpack it, or pack it with gzip"},
};

static enum status check_text(struct str head, struct err *err)
{
	size_t controls = 0, nuls = 0, even = 0;

	for (size_t i = 0; i < sizeof(OTHERS) / sizeof(OTHERS[0]); i++)
		if (str_starts(head, OTHERS[i].magic))
			return err_set(err, STATUS_INVALID, "The file is no text: it is %s.", OTHERS[i].what);
	for (size_t i = 0; i < head.n; i++) {
		unsigned char c = (unsigned char)head.p[i];
		nuls += c == 0;
		even += c == 0 && i % 2 == 0;
		controls += c < ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f' && c != 0x1b;
	}
	if (nuls > head.n / 4 && (even == 0 || even == nuls))
		return err_set(
			err, STATUS_INVALID,
			"The file looks like UTF-16 without a byte order mark: set \"encoding\" to \"utf-16%s\".",
			even ? "be" : "le");
	if (controls > CONTROLS_MAX + head.n / 100)
		return err_set(err, STATUS_INVALID,
			       "The file is no text: %zu of its first %zu bytes are control characters%s.", controls,
			       head.n, nuls ? ", NUL among them" : "");
	return STATUS_OK;
}

/* How lines end: with LF, or with CR where there is no LF outside of quotes. */
static char find_eol(struct str head)
{
	static const char delimiters[] = ",;\t|\r\n";
	bool quoted = false, cr = false;

	for (size_t i = 0; i < head.n; i++) {
		char c = head.p[i];
		if (c == '"' && (quoted || i == 0 || memchr(delimiters, head.p[i - 1], sizeof(delimiters) - 1)))
			quoted = !quoted;
		else if (!quoted && c == '\n')
			return '\n';
		cr |= !quoted && c == '\r' && i + 1 < head.n;
	}
	return cr ? '\r' : '\n';
}

/* How many cells the first record of `head` has and how many records (up to SAMPLE_RECORDS) have as many. */
static bool count_cells(struct source_shape *shape, struct source_block *head, size_t *cells, size_t *same, size_t *all)
{
	struct reader reader;
	struct arena arena;
	struct cell none;
	bool read = true;

	*cells = *same = *all = 0;
	arena_init(&arena, 1);
	reader_init(&reader, shape, head, &arena);
	while (read && *all < SAMPLE_RECORDS && reader.at < head->n) {
		size_t begin = reader.at, end, found;
		read = csv_cells(&reader, &none, 0, &found, &end);
		if (!read || end == begin)
			continue;
		*cells = *all == 0 ? found : *cells;
		*same += found == *cells;
		++*all;
	}
	arena_release(&arena);
	return read && *cells > 1;
}

/* The delimiter by which most rows have as many cells as the first; of such, the one with more cells. */
static char find_delimiter(struct source_shape shape, struct source_block *head)
{
	static const char candidates[] = {',', ';', '\t', '|'};
	char best = ',';
	size_t best_share = 0, best_cells = 0;

	for (size_t i = 0; i < sizeof(candidates); i++) {
		size_t cells, same, all;
		struct source_block whole = *head;
		struct cut cut = {.shape = &shape, .closed = SIZE_MAX};
		shape.delimiter = candidates[i];
		cut_scan(&cut, head->bytes, head->n);
		if (cut.border > 0)
			whole.n = cut.border;
		if (!count_cells(&shape, &whole, &cells, &same, &all))
			continue;
		size_t share = same * 100 / all;
		if (share > best_share || (share == best_share && cells > best_cells)) {
			best = candidates[i];
			best_share = share;
			best_cells = cells;
		}
	}
	return best;
}

struct column {
	struct str name;
	size_t number;
};

static int compare_columns(const void *a, const void *b)
{
	const struct column *x = a, *y = b;
	size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
	int order = n ? memcmp(x->name.p, y->name.p, n) : 0;

	if (order == 0)
		order = (x->name.n > y->name.n) - (x->name.n < y->name.n);
	return order ? order : (x->number > y->number) - (x->number < y->number);
}

static enum status check_names(const struct str *names, size_t n, struct err *err)
{
	struct column *columns = calloc(n + 1, sizeof(*columns));
	enum status status = STATUS_OK;

	if (!columns)
		return err_set(err, STATUS_NO_MEMORY, "There is no memory for the names of %zu columns.", n);
	for (size_t i = 0; i < n; i++)
		columns[i] = (struct column){names[i], i + 1};
	qsort(columns, n, sizeof(*columns), compare_columns);
	for (size_t i = 1; i < n && status == STATUS_OK; i++)
		if (str_eq(columns[i - 1].name, columns[i].name))
			status = err_set(err, STATUS_INVALID,
					 "Columns %zu and %zu are both called \"%.*s\": rename one, or give names in "
					 "\"header\".",
					 columns[i - 1].number, columns[i].number, text_bytes(columns[i].name, 60),
					 columns[i].name.p);
	free(columns);
	return status;
}

/* What column `i` is called. One without a name (pandas writes its index so) is called by its number. */
static struct str name_of(struct source *source, struct str text, size_t i)
{
	char number[32];

	text = str_trim(text);
	if (text.n == 0) {
		int n = snprintf(number, sizeof(number), "column_%zu", i + 1);
		text = (struct str){number, (size_t)n};
	}
	return arena_dup(&source->arena, text);
}

static enum status set_names(struct source *source, const struct str *given, size_t n, struct err *err)
{
	struct str *names = arena_alloc(&source->arena, (n + 1) * sizeof(*names));

	for (size_t i = 0; names && i < n; i++) {
		struct str name = given[i];
		if (name.n > NAME_MAX_BYTES)
			return err_set(err, STATUS_INVALID, "The name of column %zu has %zu bytes; %d is the most.",
				       i + 1, name.n, NAME_MAX_BYTES);
		if (name.n && memchr(name.p, '\0', name.n))
			return err_set(err, STATUS_INVALID, "The name of column %zu holds a NUL.", i + 1);
		if (!str_is_utf8(name))
			return err_set(err, STATUS_INVALID,
				       "The name of column %zu is not UTF-8: say what the file's encoding is.", i + 1);
		names[i] = name_of(source, name, i);
		if (!names[i].p)
			names = NULL;
	}
	if (!names)
		return err_set(err, STATUS_NO_MEMORY, "The names of %zu columns do not fit.", n);
	source->shape.names = names;
	source->shape.names_n = n;
	return check_names(names, n, err);
}

/* Those of the header's cells; without cells they are called by their numbers. */
static enum status take_names(struct source *source, const struct cell *cells, size_t n, struct err *err)
{
	struct str *given = calloc(n + 1, sizeof(*given));

	if (!given)
		return err_set(err, STATUS_NO_MEMORY, "The names of %zu columns do not fit.", n);
	for (size_t i = 0; cells && i < n; i++)
		given[i] = cells[i].text;
	enum status status = set_names(source, given, n, err);
	free(given);
	return status;
}

/* Reads the header's cells off the block's beginning, and names the columns. Without a header the first record says how
 * many there are, and stays. */
static enum status read_header(struct source *source, const struct pipeline_source *how, struct source_block *head,
			       struct err *err)
{
	struct reader reader;
	struct arena arena;
	size_t begin = 0, end = 0, found = 0;
	enum status status = STATUS_OK;
	struct cell *cells = calloc(READER_COLUMNS_MAX, sizeof(*cells));
	bool read = cells != NULL;

	arena_init(&arena, (size_t)2 * READER_RECORD_MAX);
	reader_init(&reader, &source->shape, head, &arena);
	while (read && begin == end && reader.at < head->n) {
		begin = reader.at;
		read = csv_cells(&reader, cells, READER_COLUMNS_MAX, &found, &end);
	}
	if (!read)
		status = err_set(err, STATUS_NO_MEMORY, "There is no memory for the header.");
	else if (begin == end && how->has_header)
		status = err_set(err, STATUS_INVALID, "The file is empty: it has no header.");
	else if (found > READER_COLUMNS_MAX)
		status = err_set(err, STATUS_INVALID, "The file has %zu columns; %d is the most.", found,
				 READER_COLUMNS_MAX);
	else if (how->header_n == 0)
		status = take_names(source, how->has_header ? cells : NULL, found, err);
	size_t passed = how->has_header ? reader.at : 0;
	source->at.offset += (int64_t)passed;
	source->at.line = how->has_header ? reader.line : 1;
	free(cells);
	arena_release(&arena);
	return status == STATUS_OK ? source_block_keep(source, head, passed, err) : status;
}

/* Goes on filling until the header has an end. */
static enum status fill_header(struct source *source, struct source_block *head, struct err *err)
{
	struct cut cut = {.shape = &source->shape, .closed = SIZE_MAX};
	size_t want = head->n;
	bool end = false;

	for (;;) {
		cut_scan(&cut, head->bytes, head->n);
		if (cut.records > 0)
			return STATUS_OK;
		end = head->n < want || source_is_at_end(source);
		if (end || want >= READER_RECORD_MAX)
			break;
		want = want < READER_RECORD_MAX / 4 ? want * 4 : READER_RECORD_MAX;
		enum status status = source_block_fill(source, head, want, err);
		if (status != STATUS_OK)
			return status;
	}
	if (source->failure.status != STATUS_OK)
		return err_set(err, source->failure.status, "%s", source->failure.text);
	if (cut.quoted) {
		long long line = cut.lines + cut.opened_lines + 1;
		return err_set(err, STATUS_INVALID, "The quote that opens in the first record, in line %lld, is %s.",
			       line, end ? "never closed" : "not closed within 1 MiB");
	}
	return end ? STATUS_OK : err_set(err, STATUS_INVALID, "The header is longer than %d bytes.", READER_RECORD_MAX);
}

static enum status find_csv(struct source *source, const struct pipeline_source *how, struct source_block *head,
			    struct err *err)
{
	struct source_shape *shape = &source->shape;
	enum status status;

	if (how->delimiter && (how->delimiter == '"' || how->delimiter == '\n' || how->delimiter == '\r' ||
			       (unsigned char)how->delimiter >= 0x80))
		return err_set(err, STATUS_INVALID, "delimiter: it can't be a quote, the end of a line or not ASCII.");
	shape->eol = find_eol((struct str){head->bytes, head->n});
	shape->delimiter = how->delimiter ? how->delimiter : find_delimiter(*shape, head);
	if (how->header_n > READER_COLUMNS_MAX)
		return err_set(err, STATUS_INVALID, "header: %d names; %d is the most.", how->header_n,
			       READER_COLUMNS_MAX);
	if (how->header_n > 0) {
		status = set_names(source, how->header, (size_t)how->header_n, err);
		if (status != STATUS_OK)
			return status;
		if (!how->has_header)
			return source_block_keep(source, head, 0, err);
	}
	status = fill_header(source, head, err);
	return status == STATUS_OK ? read_header(source, how, head, err) : status;
}

/* The same for JSON lines, which have no header. */
static enum status find_lines(struct source *source, struct source_block *head, struct err *err)
{
	source->shape.eol = '\n';
	return source_block_keep(source, head, 0, err);
}

enum status source_find_shape(struct source *source, const struct pipeline_source *how, struct err *err)
{
	struct source_block head = {.from = {.line = 1}};
	enum status status = source_block_fill(source, &head, HEAD_BYTES, err);

	source->shape.format = how->format;
	source->at = (struct source_position){0, 1, 0};
	if (status == STATUS_OK && head.n == 0 && source->failure.status != STATUS_OK)
		status = err_set(err, source->failure.status, "%s", source->failure.text);
	if (status == STATUS_OK)
		status = check_text((struct str){head.bytes, head.n}, err);
	if (status != STATUS_OK)
		goto out;
	if (how->format == PIPELINE_JSON) {
		status = source_block_keep(source, &head, 0, err);
		if (status == STATUS_OK)
			status = source_find_array(source, how->items, err);
		goto out;
	}
	if (str_starts((struct str){head.bytes, head.n}, STR("\xef\xbb\xbf"))) {
		head.n -= 3;
		memmove(head.bytes, head.bytes + 3, head.n);
		source->at.offset = 3;
	}
	status = how->format == PIPELINE_CSV ? find_csv(source, how, &head, err) : find_lines(source, &head, err);
out:
	source_block_release(&head);
	return status;
}
