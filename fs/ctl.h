/* fs/ctl: the control files under .snapshots/.control of a volume's root: one table of names, modes, texts and the verbs
 * that they take (fs/verb.h has those). Nothing here knows FUSE.
 *
 * Paths are relative to .control: "" the directory, "status", "status.json", "changes" (a directory), "changes/A..B",
 * "changes/A..B.json", "changes/A" (until now), "events", "events.json", "events-since-ID". The one name cannot be a file
 * and a directory to the kernel, so "events/since-ID" is understood here but reached by way of "events-since-ID".
 *
 * A text is made anew by each ctl_read() and has no size before: whoever serves stat() reads first and keeps the text until
 * the reader comes (a generation: ctl_change()). Threads: any. */
#ifndef VARVE_FS_CTL_H
#define VARVE_FS_CTL_H

#include "fs/verb.h"

struct ctl; /* of one volume: what was said last, and to whom it was refused */

struct ctl_file {
    const char *name;
    uint16_t mode;       /* 0440, 0640, 0444, directories 0550: of root owner and control group */
    enum verb_role role; /* control= at least this shows the file at all */
    bool dir;
    int (*text)(struct ctl *c, const char *arg, struct buf *out);
    int (*json)(struct ctl *c, const char *arg, struct buf *out);
    const char *doc; /* one line */
};

enum ctl_kind { CTL_ROOT, CTL_DIR, CTL_TEXT, CTL_JSON };
struct ctl_node {
    enum ctl_kind kind;
    const struct ctl_file *file;    /* NULL for the root */
    char arg[2 * NAME_LEN_MAX + 8]; /* "A..B", the id of since-ID; "" none */
    bool listed;                    /* readdir shows it */
    uint32_t mode; /* with S_IFREG or S_IFDIR; write bits are gone where the role allows no verb */
};

/* ctl_new: role bounds what may be done (mount option control=); ROLE_NONE: there is no .control at all. */
int ctl_new(struct verb_env *e, struct vol *v, enum verb_role role, struct ctl **ret);
void ctl_free(struct ctl *c);
enum verb_role ctl_role(const struct ctl *c);

/* ctl_lookup: -E_NOENT, -E_NAMETOOLONG. A name under changes/ is found when both snapshots exist. */
int ctl_lookup(struct ctl *c, const char *path, struct ctl_node *ret);
/* ctl_list: names of a directory ("" or "changes"), in a fixed order; cb non-zero ends it with that value. */
int ctl_list(struct ctl *c, const char *path,
             int (*cb)(void *arg, const char *name, const struct ctl_node *n), void *arg);

/* ctl_read: the whole text, appended to out. -E_NOENT, -E_ISDIR. */
int ctl_read(struct ctl *c, const char *path, struct buf *out);

/* ctl_write: the bytes of one write(2): lines are commands, done in order up to the first that is refused; the last needs
 * no newline. 0 or that command's error; reason, time, uid and line stand in "error" and in the file itself. The same
 * bytes again within half a second from the same caller, where the first made a job, are answered as the first were (a
 * buffered writer repeats them at close). pid: of the writer, 0 unknown. */
int ctl_write(struct ctl *c, uint32_t uid, uint32_t gid, uint32_t pid, const char *path, const void *data,
              size_t len);

/* ctl_refused: what was asked in another way (mkdir, rmdir, mv of a snapshot) and refused stands in "error" and in the file
 * that has the verb, as if it had been written there. err: the reason, err_text(result) where it is empty. */
void ctl_refused(struct ctl *c, uint32_t uid, const char *file, const char *line, int result,
                 struct buf *err);

/* ctl_change: a number that is another one whenever some text may have changed by what is done here (events, jobs,
 * refusals); status has counters that change at any time. */
uint64_t ctl_change(struct ctl *c);

#endif
