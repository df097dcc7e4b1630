/* fs/verb_doctor: `varve doctor`: what this machine has and lacks. */
#ifndef VARVE_FS_VERB_DOCTOR_H
#define VARVE_FS_VERB_DOCTOR_H

#include "base/buf.h"

/* store: a directory whose filesystem is looked at, too; NULL: none. True when something is missing without which varve
 * does not work here. */
bool verb_doctor(const char *store, bool json, struct buf *out);

/* "6.18.15-generic" is at least major.minor.patch? For the versions of kernels and libraries. */
bool doctor_version_at_least(const char *version, unsigned major, unsigned minor, unsigned patch);

#endif
