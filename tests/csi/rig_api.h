/* tests/csi/rig_api: a server that plays Kubernetes' API (api.py), and varve-manifests, which asks it. */
#ifndef VARVE_TESTS_CSI_RIG_API_H
#define VARVE_TESTS_CSI_RIG_API_H

#include "base/buf.h"

extern char api_dir[400], api_account[420];

void api_begin(const char *dir,
               const char *name); /* name: what its certificate is for; the environment says where it is */
void api_end(void);               /* of the environment, too */
void api_behaves(const char *mode);

/* api_ask: runs varve-manifests; its exit code, what it prints and says. */
int api_ask(const char *words, struct buf *out, struct buf *err);

#endif
