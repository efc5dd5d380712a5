/* A fault for check_layers.sh: an include that points aside. */
#include "auth/keyring.h"
