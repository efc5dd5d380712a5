/* A fault for check_layers.sh: FastCGI outside of http/fcgi.c. */
#include <fcgiapp.h>
