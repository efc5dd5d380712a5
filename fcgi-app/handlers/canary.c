/* Shares and stickiness are data of the route (model/set.h); here is what of a request they are applied to. */
#include "handlers/canary.h"

/* What the route is sticky by; empty: this request has none. Somebody with a token has no key, and is themselves. */
static struct str subject_of(const struct request *req, const struct model_route *route)
{
	switch (route->sticky) {
	case MODEL_STICKY_NONE:
		break;
	case MODEL_STICKY_KEY:
		return str_of(req->caller.key_id[0] ? req->caller.key_id : req->caller.username);
	case MODEL_STICKY_HEADER:
		for (const struct request_sticky *sticky = req->sticky; sticky; sticky = sticky->next)
			if (str_eq(sticky->name, str_of(route->sticky_header)))
				return sticky->value;
		break;
	}
	return (struct str){0};
}

const struct model_version *canary_pick(const struct request *req, const struct model_route *route)
{
	struct str subject = subject_of(req, route);
	uint64_t draw;

	if (subject.n > 0)
		return model_route_pick(route, model_route_draw(route, subject));
	memcpy(&draw, req->edge.random, sizeof(draw));
	return model_route_pick(route, draw);
}
