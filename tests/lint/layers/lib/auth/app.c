/* A fault for check_layers.sh: lib includes a header of fcgi-app. */
#include "http/request.h"
