#include "tier/why.h"

#include <stdarg.h>
#include <stdio.h>

void why_init(struct why *w)
{
    lock_init(&w->lock, RANK_LEAF, 0);
}

void why_release(struct why *w)
{
    lock_release(&w->lock);
}

int why_say(struct why *w, int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    lock_take(&w->lock);
    w->code = code;
    vsnprintf(w->text, sizeof(w->text), fmt, ap);
    lock_drop(&w->lock);
    va_end(ap);
    return code;
}

int why_recode(struct why *w, int code)
{
    lock_take(&w->lock);
    w->code = code;
    lock_drop(&w->lock);
    return code;
}

void why_tell(struct why *w, int code, struct buf *ret)
{
    lock_take(&w->lock);
    if (w->code == code)
        buf_puts(ret, w->text);
    lock_drop(&w->lock);
}
