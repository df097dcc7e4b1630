/* tests/csi/rig: a store with its daemon and varve-csi, in the test's directory; typed calls. One at a time. */
#ifndef VARVE_TESTS_CSI_RIG_H
#define VARVE_TESTS_CSI_RIG_H

#include <sys/types.h>

#include "plugin/csi.pb-c.h"
#include "plugin/grpc.h"
#include "plugin/registration.pb-c.h"
#include "tests/csi/client.h"
#include "tests/lib/test.h"

struct rig {
    char dir[256], store[256], sock[256], log[256], stage[256], target[256];
    pid_t serve, csi;
    char why[1024]; /* message of the last call, decoded no further */
    int64_t took_ns;
};
extern struct rig rig;

void rig_start(
    const char
        *option);    /* skips the test where mounts are not to be had; option: one for varve-csi, or NULL */
void rig_stop(void); /* checks that nothing is left mounted */
void rig_csi_start(const char *option);
void rig_csi_end(int sig);
void rig_serve_start(void);
void rig_serve_end(void);
void rig_serve_kill(void); /* keeper and daemon at once: mounts are dead */
/* Other programs of this build, whose output goes to the log; rig_wait: how one ended. Whoever starts one ends it. */
const char *rig_program(const char *name);
pid_t rig_run(const char *const *argv);
int rig_wait(pid_t pid);
pid_t rig_daemon(void); /* of the process that serves requests now */
void rig_varve(const char *a, const char *b, const char *c,
               const char *d); /* runs varve, which must go well */
int rig_varve_status(const char *const *words);
void rig_varve_words(const char *const *words); /* the same, as many as there are; ended by NULL */
bool rig_left(char *what, size_t len);          /* volumes or facts in the store */

/* rpc: one call; its status must be want; the answer, NULL where there is none: by protobuf_c_message_free_unpacked. */
void *rpc(const char *path, const void *q, const ProtobufCMessageDescriptor *answer, int want);
struct call *rpc_begin(struct client *c, const char *path, const void *q, const char *timeout);
int rpc_status(const char *path, const void *q); /* any */
#define RPC(service, name, q, want)                                                                          \
    rpc("/csi.v1." #service "/" #name, (q), rpc_answer("csi.v1." #service, #name), (want))
const ProtobufCMessageDescriptor *rpc_answer(const char *service, const char *method);
void rpc_free(void *m);

/* What most tests need: ids are the caller's, by free(). */
char *make_volume(const char *name, int64_t size);
char *make_copy(const char *name, int64_t size, const char *volume_id, const char *snapshot_id);
char *make_snapshot(const char *volume_id, const char *name);
int stage_as(const char *id, const char *dir, int mode, const char *flag, const char *group);
int publish_as(const char *id, const char *stage, const char *target, int mode, bool readonly);
int unpublish(const char *id, const char *target);
int unstage(const char *id, const char *dir);
int delete_volume(const char *id);
int delete_snapshot(const char *id);

#define SNW CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_WRITER
#define RWOP CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_SINGLE_WRITER
#define ROX CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_READER_ONLY
#define RWX CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_MULTI_WRITER
struct cap {
    Csi__V1__VolumeCapability cap, *list[1];
    Csi__V1__VolumeCapability__MountVolume mount;
    Csi__V1__VolumeCapability__AccessMode mode;
    char *flags[1];
};
void cap_init(struct cap *c, int mode);

/* create_request: nothing but name and capability; c has to stay. create_volume: it goes well; the size is what was asked for. */
void create_request(Csi__V1__CreateVolumeRequest *q, struct cap *c, const char *name, int mode);
char *create_volume(const Csi__V1__CreateVolumeRequest *q);

char *text(const char *s);
void pause_ms(long ms);

#endif
