/* A fault for check_layers.sh: an include that points up. */
#include "store/db.h"
