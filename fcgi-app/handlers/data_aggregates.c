/* GET /api/v1/data/aggregates?pipeline=NAME&field=FIELD&by=FIELD&quantiles=0.5,0.95&buckets=10: numbers about the
 * records that the conditions (data_query.c) choose, all together or by what stands in a field. Without `field` they
 * are only counted. */
#include "handlers/data.h"
#include "handlers/handlers.h"

#include "app.h"
#include "base/json.h"
#include "http/query.h"

static const char QUANTILES[] = "0.25,0.5,0.75,0.95,0.99";

struct asking {
	struct data_wish wish;
	struct record_wish about;
	struct record_summary summary;
};

/* A field, or one of the record's own. False: answered. */
static bool read_field(struct request *req, const char *name, const struct data_wish *wish, struct str *out,
		       bool *is_number)
{
	static const struct {
		struct str name, column;
		bool is_number;
	} own[] = {{STR_INIT("status"), STR_INIT("@status"), true},
		   {STR_INIT("source"), STR_INIT("@source"), false},
		   {STR_INIT("run"), STR_INIT("@run"), true}};

	if (!data_read_text(req, name, out) || out->n == 0)
		return out->n == 0 && out->p == NULL && req->response.status == 0;
	for (size_t i = 0; is_number && i < sizeof(own) / sizeof(own[0]); i++) {
		if (!str_eq(*out, own[i].name))
			continue;
		*out = own[i].column;
		*is_number = own[i].is_number;
		return true;
	}
	if (str_starts(*out, STR("data.")))
		*out = (struct str){out->p + 5, out->n - 5};
	if (is_number)
		*is_number = data_is_number(wish->definition, *out);
	if (record_field_is_good(*out))
		return true;
	query_answer(req, "value_error", "A field's name has no quotation marks and backslashes", name, *out,
		     (struct str){0});
	return false;
}

/* False: answered. */
static bool read_quantiles(struct request *req, struct record_wish *about)
{
	struct str text = str_of(QUANTILES);

	(void)!request_query(req, STR("quantiles"), &text);
	struct str rest = text;
	while (rest.n > 0) {
		double *out = &about->quantiles[about->quantiles_n];
		if (about->quantiles_n < RECORD_QUANTILES_MAX && json_number_of_text(str_cut(&rest, ','), out) &&
		    *out >= 0.0 && *out <= 1.0) {
			about->quantiles_n++;
			continue;
		}
		query_answer(req, "value_error",
			     "Input should be up to 16 numbers from 0 to 1 with commas between them", "quantiles",
			     (struct str){text.p, text.n < 200 ? text.n : 200}, (struct str){0});
		return false;
	}
	return true;
}

/* --- the answer --- */

static void put_value(struct buf *out, const struct record_value *value, struct str by)
{
	if (value->kind == RECORD_NOTHING)
		buf_str(out, STR("null"));
	else if (str_eq(by, STR("@status")))
		json_put_string(out, str_of(record_status_name((enum record_status)value->number)));
	else if (value->kind == RECORD_NUMBER)
		json_put_double(out, value->number);
	else
		json_put_string(out, value->text);
}

static void put_number(struct buf *out, const char *name, double value, bool known)
{
	buf_fmt(out, ",\"%s\":", name);
	if (known)
		json_put_double(out, value);
	else
		buf_str(out, STR("null"));
}

static void put_group(struct buf *out, const struct asking *asking, const struct record_group *group)
{
	const struct record_wish *about = &asking->about;
	bool known = group->numbers > 0;

	buf_str(out, STR("{\"value\":"));
	put_value(out, &group->value, about->by);
	buf_fmt(out, ",\"count\":%lld", (long long)group->count);
	if (about->field.n > 0) {
		buf_fmt(out, ",\"numbers\":%lld", (long long)group->numbers);
		put_number(out, "sum", group->sum, known);
		put_number(out, "mean", known ? group->sum / (double)group->numbers : 0.0, known);
		put_number(out, "min", group->min, known);
		put_number(out, "max", group->max, known);
		buf_str(out, STR(",\"quantiles\":{"));
		for (int i = 0; i < about->quantiles_n; i++) {
			buf_str(out, i > 0 ? STR(",\"") : STR("\""));
			json_put_double(out, about->quantiles[i]);
			buf_str(out, STR("\":"));
			if (known)
				json_put_double(out, group->quantiles[i]);
			else
				buf_str(out, STR("null"));
		}
		buf_char(out, '}');
		buf_str(out, STR(",\"histogram\":["));
		for (int i = 0; i < about->buckets; i++)
			buf_fmt(out, "%s%lld", i > 0 ? "," : "", (long long)group->buckets[i]);
		buf_char(out, ']');
	}
	buf_char(out, '}');
}

static void put_summary(struct buf *out, const struct asking *asking)
{
	const struct record_summary *summary = &asking->summary;
	const struct record_wish *about = &asking->about;
	int64_t count = 0;

	buf_str(out, STR("{\"pipeline\":"));
	json_put_string(out, asking->wish.name);
	for (int i = 0; i < summary->n; i++)
		count += summary->groups[i].count;
	buf_fmt(out, ",\"count\":%lld,\"estimated\":%s,\"edges\":[", (long long)count,
		summary->sampled ? "true" : "false");
	for (int i = 0; about->field.n > 0 && summary->min <= summary->max && i <= about->buckets && about->buckets > 0;
	     i++) {
		buf_str(out, i > 0 ? STR(",") : STR(""));
		json_put_double(out, summary->min + (summary->max - summary->min) * i / about->buckets);
	}
	buf_str(out, STR("],\"groups\":["));
	for (int i = 0; i < summary->n; i++) {
		buf_str(out, i > 0 ? STR(",") : STR(""));
		put_group(out, asking, &summary->groups[i]);
	}
	buf_str(out, STR("]}"));
}

static bool read_wish(struct request *req, struct db *db, struct asking *asking)
{
	struct record_wish *about = &asking->about;
	int64_t buckets;

	if (!data_read_wish(req, db, 1, 0, &asking->wish) ||
	    !read_field(req, "field", &asking->wish, &about->field, NULL) ||
	    !read_field(req, "by", &asking->wish, &about->by, &about->by_number) || !read_quantiles(req, about) ||
	    !query_read_int(req, "buckets", 10, 0, RECORD_BUCKETS_MAX, &buckets))
		return false;
	about->buckets = about->field.n > 0 ? (int)buckets : 0;
	about->quantiles_n = about->field.n > 0 ? about->quantiles_n : 0;
	asking->wish.query.within_ms = DATA_AGGREGATE_MS;
	return true;
}

static void ask_slowly(struct request *req, struct db *thread_db)
{
	struct asking *asking = arena_zalloc(&req->arena, sizeof(*asking));
	struct db *db = data_connect(req, thread_db);
	struct err err = {0};
	enum status status = STATUS_OK;

	if (!asking)
		request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "no memory for aggregates"), &err);
	if (asking && db && read_wish(req, db, asking)) {
		if (!asking->wish.unknown)
			status = records_aggregate(db, &asking->wish.query, &asking->about, &req->arena,
						   &asking->summary, &err);
		req->response.status = 200;
		req->response.content_type = "application/json";
		if (status == STATUS_OK)
			put_summary(&req->response.body, asking);
		else
			request_answer_error(req, status, &err);
	}
	request_finish(req);
}

void data_get_aggregates(struct request *req)
{
	request_go_slow(req, req->app->lists, ask_slowly);
}
