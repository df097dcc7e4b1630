#include "base/err.h"

#include <errno.h>
#include <stddef.h>

struct err_row {
    int eno;
    const char *name;
    const char *text;
};

static const struct err_row rows[] = {
#define ERR(name, eno, text) {eno, #name, text},
#include "base/err.def"
#undef ERR
};

/* Codes that a system call's errno becomes; several codes share an errno, so the way back is a list of its own. */
static const struct {
    int eno;
    int code;
} from_errno[] = {
    {ENOMEM, E_NOMEM},      {ENOSPC, E_NOSPC},
    {EDQUOT, E_NOSPC},      {ENOENT, E_NOENT},
    {EEXIST, E_EXIST},      {ENOTDIR, E_NOTDIR},
    {EISDIR, E_ISDIR},      {ENOTEMPTY, E_NOTEMPTY},
    {EINVAL, E_INVAL},      {ENAMETOOLONG, E_NAMETOOLONG},
    {EROFS, E_ROFS},        {ESTALE, E_STALE},
    {EXDEV, E_XDEV},        {EPERM, E_PERM},
    {EACCES, E_ACCES},      {ENODATA, E_NODATA},
    {ERANGE, E_RANGE},      {E2BIG, E_TOOBIG},
    {EFBIG, E_FBIG},        {EMLINK, E_MLINK},
    {EBUSY, E_BUSY},        {ETXTBSY, E_BUSY},
    {EAGAIN, E_AGAIN},      {EOPNOTSUPP, E_NOTSUP},
    {ENOSYS, E_NOSYS},      {ENXIO, E_NXIO},
    {EINTR, E_INTR},        {ECANCELED, E_CANCELED},
    {ETIMEDOUT, E_TIMEOUT}, {EMFILE, E_FILES},
    {ENFILE, E_FILES},
};

static const struct err_row *row_of(int r)
{
    if (r > -(E__FIRST + 1) || r <= -E__END)
        return NULL;
    return &rows[-r - (E__FIRST + 1)];
}

int err_errno(int r)
{
    const struct err_row *row = row_of(r);

    if (r >= 0)
        return 0;
    return row ? row->eno : EIO;
}

const char *err_name(int r)
{
    const struct err_row *row = row_of(r);

    if (r >= 0)
        return "OK";
    return row ? row->name : "UNKNOWN";
}

const char *err_text(int r)
{
    const struct err_row *row = row_of(r);

    if (r >= 0)
        return "no error";
    return row ? row->text : "unknown error";
}

int err_from_errno(int e)
{
    for (size_t i = 0; i < sizeof(from_errno) / sizeof(from_errno[0]); i++) {
        if (from_errno[i].eno == e)
            return -from_errno[i].code;
    }
    return -E_IO;
}
