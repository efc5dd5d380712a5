/* A fault for check_layers.sh: http includes a handler. */
#include "handlers/handlers.h"
