/* A fault for check_layers.sh: FastCGI in lib. */
#include <fcgiapp.h>
