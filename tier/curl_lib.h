/* tier/curl_lib: libcurl, loaded when the first s3: URL is opened: with the thirty libraries that it brings along it costs a start of
 * varve-tierd 40 ms and 20 MiB to read, which repositories in a directory need not pay (docs/decisions/0009-s3.md). */
#ifndef VARVE_TIER_CURL_LIB_H
#define VARVE_TIER_CURL_LIB_H

#include <curl/curl.h>

#include "base/buf.h"

#define CURL_LIB_NAME "libcurl.so.4"

extern struct curl_lib {
#define CURL_FN(name_) __typeof__(curl_##name_) *name_;
#include "tier/curl_lib.def"
#undef CURL_FN
} curl_lib; /* of use after curl_lib_load() */

/* curl_lib_load(name, err): once loaded it stays. -E_NOTSUP with a sentence: it is not there, or too old; -E_IO: it does not start. */
int curl_lib_load(const char *name, struct buf *err);

#endif
