/* base/err: error codes. Functions return 0 or a negative code (-E_NOMEM, ...); a positive result only where
 * a header says so. Codes become errno, names and sentences at the edges only. Thread rule: pure functions. */
#ifndef VARVE_BASE_ERR_H
#define VARVE_BASE_ERR_H

enum err {
    E_OK = 0,
    E__FIRST = 1000, /* apart from errno numbers, so that the two are never mistaken for each other */
#define ERR(name, eno, text) E_##name,
#include "base/err.def"
#undef ERR
    E__END
};

/* err_errno(r): the errno (positive) that the kernel or a caller sees for r (0 or negative code); 0 for r >= 0. */
int err_errno(int r);

/* err_name(r): "NOSPC" for -E_NOSPC, "OK" for r >= 0, "UNKNOWN" for a number that is no code. Never NULL. */
const char *err_name(int r);

/* err_text(r): the sentence for people, without a full stop. Never NULL. */
const char *err_text(int r);

/* err_from_errno(e): the code (negative) for a positive errno of a system call; what has no code of its own is -E_IO. */
int err_from_errno(int e);

#endif
