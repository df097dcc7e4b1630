/* After a daemon's death on the same boot its writes are in the page cache only; after a power cut those bytes are that were put in
 * their objects from records. One syncfs puts them on disk; requests that promise nothing need not wait for it. */
#include "base/log.h"
#include "snap/store/store_int.h"

static int catch_up(struct store *s)
{
    int r = objfd_sync_all(s);

    if (r < 0)
        store_fail(s, "what the daemon before had written could not be synced");
    pthread_mutex_lock(&s->bg_lock);
    __atomic_store_n(&s->catching_up, false, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&s->bg_done);
    pthread_mutex_unlock(&s->bg_lock);
    return r;
}

static void *catchup_main(void *arg)
{
    struct store *s = arg;

    if (catch_up(s) < 0)
        return NULL;
    if (s->powercut)
        (void)store_checkpoint(s); /* the next start need not recover from the cut again */
    else
        store_kick(s);
    return NULL;
}

int catchup_begin(struct store *s)
{
    if (BROKEN(VARVE_BREAK_first_fsync))
        return 0;
    __atomic_store_n(&s->catching_up, true, __ATOMIC_SEQ_CST);
    if (s->set.no_threads || pthread_create(&s->catchup_thread, NULL, catchup_main, s) != 0)
        return catch_up(s);
    s->catchup_running = true;
    return 0;
}

int catchup_await(struct store *s)
{
    if (!__atomic_load_n(&s->catching_up, __ATOMIC_SEQ_CST))
        return 0;
    pthread_mutex_lock(&s->bg_lock);
    while (__atomic_load_n(&s->catching_up, __ATOMIC_SEQ_CST))
        pthread_cond_wait(&s->bg_done, &s->bg_lock);
    pthread_mutex_unlock(&s->bg_lock);
    return store_writable(s) ? 0 : -E_FAILED;
}

void catchup_end(struct store *s)
{
    if (s->catchup_running)
        pthread_join(s->catchup_thread, NULL);
    s->catchup_running = false;
}
