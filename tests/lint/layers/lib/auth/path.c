/* A fault for check_layers.sh: an include that walks out of its folder. */
#include "../../fcgi-app/app.h"
