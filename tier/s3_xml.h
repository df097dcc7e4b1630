/* tier/s3_xml: the answers of S3 that are XML. Parsers: (bytes, length), nothing else is asked. Threads: any. */
#ifndef VARVE_TIER_S3_XML_H
#define VARVE_TIER_S3_XML_H

#include "base/buf.h"

#define S3_XML_TEXT 1100 /* the longest text of an element that is looked at */

/* s3_xml_each(p, len, fn, arg): fn for the text of each element that has no elements inside, with its path ("ListBucketResult/
 * Contents/Key"), and with text NULL where an element ends that has some. fn non-zero ends it with that value. -E_PROTO: no XML,
 * deeper than 8, a text that is too long; -E_NOMEM. */
int s3_xml_each(const void *p, size_t len, int (*fn)(void *arg, const char *path, const char *text),
                void *arg);

struct s3_error {
    char code[64], message[256], region[64], endpoint[128];
};
/* s3_xml_error: what an <Error> says; fields that it does not have are "". false: it is none. */
bool s3_xml_error(const void *p, size_t len, struct s3_error *ret);

#endif
