/* What a change of the bytes takes away: suid, sgid and security.capability. */
#include "snap/store/change.h"

static const char caps_name[] = "security.capability";

struct strip {
    uint32_t mode;          /* bits that go */
    struct inode_more more; /* attributes that went */
    int64_t blocks;         /* which gives so many back */
};

static void strip_inode(struct inode *in, void *arg)
{
    struct strip *s = arg;
    uint32_t had = in->more_blocks;

    in->mode &= ~s->mode;
    inode_more(in, &s->more);
    s->blocks = (int64_t)in->more_blocks - had;
    in->flags &= ~(uint32_t)INODE_CAPS;
    inode_now(&in->ctime);
}

static bool is_caps(const struct vt_val *v)
{
    return v->len >= 5 + sizeof(caps_name) - 1 && v->data[4] == sizeof(caps_name) - 1 &&
           memcmp(v->data + 5, caps_name, sizeof(caps_name) - 1) == 0;
}

/* All pieces of the attribute; the name is in the first. */
static int drop_caps(struct change *ch, struct inode_more *more)
{
    struct vt_scan sc;
    uint8_t key[17], cap[17];
    const uint8_t *found;
    struct vt_val v;
    bool have = false;
    int r;

    put_be64(key, ch->ino);
    vt_scan_init(&sc, &ch->t, KEEP_PENDING, (struct vt_at){ch->at.branch, LAYER_NOW}, TAB_XATTR, key, 8);
    while ((r = vt_scan_next(&sc, &found, &v)) == 1) {
        if (found[16] == 0 && (have = is_caps(&v))) {
            more->xattrs--;
            more->names -= sizeof(caps_name);
            more->values -= get_le32(v.data);
        }
        if (!have)
            continue;
        memcpy(cap, found, sizeof(cap));
        r = vt_del(&ch->t, KEEP_FIRM, (struct txn_owner){0}, ch->at, TAB_XATTR, cap);
        if (r < 0)
            return r;
    }
    return r;
}

int change_kill_priv(struct change *ch)
{
    struct strip s = {.mode = S_ISUID};
    struct inode in;
    int r = 0;

    if (!ch->rq->kill_priv)
        return 0;
    r = inode_get(&ch->t, (struct vt_at){ch->at.branch, LAYER_NOW}, ch->ino, &in);
    if (r < 0)
        return r;
    if (in.mode & S_IXGRP)
        s.mode |= S_ISGID;
    if (!(in.mode & s.mode) && !(in.flags & INODE_CAPS))
        return 0;
    if (in.flags & INODE_CAPS)
        r = drop_caps(ch, &s.more);
    if (r == 0)
        r = inode_update(&ch->t, ch->at, ch->ino, strip_inode, &s, NULL);
    if (r == 0 && s.blocks && in.nlink)
        r = layer_late_blocks(&ch->t, ch->v, ch->at.layer, s.blocks);
    if (r == 0 && s.blocks && ch->v->rec.head == ch->at.branch)
        txn_charge(&ch->t, ch->v, s.blocks, 0);
    return r;
}
