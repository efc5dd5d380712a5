/* The one place that states versions. */
#ifndef APPCORE_BASE_VERSION_H
#define APPCORE_BASE_VERSION_H

#define APPCORE_NAME        "practical-production-service"
#define APPCORE_TITLE       "Practical Production Service"
#define APPCORE_VERSION     "0.1.0"
#define APPCORE_API_VERSION "v1"

#ifndef APPCORE_COMMIT
#define APPCORE_COMMIT "unknown"
#endif

#endif
