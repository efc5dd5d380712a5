/* Reading an API: page by page, each of which is a source of its own (pipeline_http.c fetches them). */
#include "task/pipeline_run_impl.h"

static enum status open_page(struct work *work, struct str array, bool same, struct err *err)
{
	struct pipeline_source how = work->pipeline->source;

	how.items = STR("");
	if (!same) {
		work->at = (struct source_position){0};
		work->skip = 0;
	}
	enum status status = source_open_bytes(&work->source, array, &how, err);
	if (status == STATUS_OK && work->at.offset > 0)
		status = source_seek(work->source, work->at, err);
	if (status == STATUS_OK && !outputs_are_wanted(&work->outputs))
		status = outputs_open(&work->outputs, work->run->config, work->pipeline, source_shape(work->source),
				      work->row.source, &work->row.id, work->run->arena, err);
	if (status == STATUS_OK)
		status = feed_open(&work->feed, work->source, work->pipeline, work->run->models,
				   (int)work->run->config->max_workers, err);
	return status;
}

static enum status read_page(struct work *work, struct str array, bool same, struct err *err)
{
	const struct feed_chunk *chunk = NULL;
	int64_t pages = api_pages(work->api);
	enum status status = open_page(work, array, same, err);

	while (status == STATUS_OK && api_pages(work->api) == pages) {
		status = feed_next(work->feed, &chunk, err);
		if (status != STATUS_OK || !chunk)
			break;
		status = work_store_chunk(work, chunk, err);
	}
	work_close_source(work);
	return status == STATUS_OK && api_pages(work->api) == pages ? work_store_page_end(work, err) : status;
}

enum status work_read_api(struct work *work, struct err *err)
{
	struct str array;
	bool same;

	enum status status = api_open(&work->api, work->run, &work->row, work->pipeline, err);
	while (status == STATUS_OK) {
		int64_t pages = api_pages(work->api);
		status = api_fetch(work->api, &array, &work->page_items, &same, err);
		if (status != STATUS_OK)
			break;
		if (!array.p)
			return pages == 0 ? work_store_page_end(work, err) : STATUS_OK;
		status = work->page_items > 0 ? read_page(work, array, same, err) : work_store_page_end(work, err);
	}
	return status;
}
