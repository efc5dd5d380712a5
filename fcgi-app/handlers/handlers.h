/* Every handler, by the file it lives in. A handler sets the response and ends in request_finish(), now or later. */
#ifndef APPCORE_HANDLERS_HANDLERS_H
#define APPCORE_HANDLERS_HANDLERS_H

#include "http/router.h"

/* health.c */
route_handler root_get, health_get, version_get, live_get, ready_get;

/* predict.c */
route_handler predict_post, predict_v1_post;

/* models.c */
route_handler models_get_list, models_get_one, models_get_version;

/* models_predict.c; the version may be named */
route_handler models_post_predict;

/* predictions.c */
route_handler predictions_get_list, predictions_get_one, predictions_v1_list, predictions_v1_one;

#endif
