#include "snap/store/feature.h"

#include <stdio.h>

#include "snap/store/version.h"

struct feature_door feature_door;

bool feature_kind_known(unsigned kind)
{
    return kind <= OP_POLICY || (kind >= OP_CREATE && kind <= OP_TMPFILE) ||
           (kind >= OP_WRITE && kind <= OP_FREEZE) || (feature_door.kind && kind == feature_door.kind);
}

int feature_require(struct store *s, uint64_t incompat)
{
    cleanup(buf_free) struct buf b = {0};
    uint8_t out[STORE_VERSION_SIZE];
    struct store_version v;
    char file[4200];
    int r;

    snprintf(file, sizeof(file), "%s/version", store_path(s));
    r = io_read_file(store_io(s), file, 4096, &b);
    if (r == 0)
        r = store_version_decode(b.data, b.len, &v);
    if (r < 0 || (v.incompat & incompat) == incompat)
        return r;
    v.incompat |= incompat;
    store_version_encode(&v, out);
    return io_replace(store_io(s), file, out, sizeof(out));
}
