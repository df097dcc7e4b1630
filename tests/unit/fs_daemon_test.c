/* The daemon's questions to its keeper, without one. */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/daemon.h"
#include "tests/lib/test.h"

static void answer(int keeper, uint32_t number, int32_t err, int fd)
{
    struct keeper_msg m = {.kind = KEEPER_REPLY, .n = number, .err = err};

    CHECK_OK(keeper_put(&m, "said"));
    CHECK_OK(keeper_send(keeper, &m, fd));
}

struct asker {
    struct daemon d;
    int r, fd;
    char why[256];
};

static void *ask(void *arg)
{
    struct asker *a = arg;
    struct keeper_msg m = {.kind = KEEPER_MOUNT};

    a->r = daemon_ask(&a->d, &m, -1, a->why, &a->fd);
    return NULL;
}

static uint32_t question(int keeper)
{
    struct keeper_msg m;
    int fd;

    CHECK_OK(keeper_recv(keeper, &m, &fd));
    CHECK_EQ(m.kind, KEEPER_MOUNT);
    return (uint32_t)m.err;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static unsigned open_files(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 64; fd++)
        n += is_open(fd);
    return n;
}

/* In a process of its own, as KEEPER_FD is a number. */
static int late_answers(void)
{
    static struct asker a = {.fd = -1};
    pthread_t hearing, asking;
    int pair[2], null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    uint32_t number;
    unsigned n;

    pthread_mutex_init(&a.d.keeper_lock, NULL);
    pthread_mutex_init(&a.d.lock, NULL);
    pthread_cond_init(&a.d.change, NULL);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK(dup2(pair[0], KEEPER_FD) == KEEPER_FD);
    CHECK(pthread_create(&hearing, NULL, daemon_hear_main, &a.d) == 0);
    n = open_files();
    answer(pair[1], 7, 0, null); /* nobody has asked */
    for (int i = 0; i < 3; i++) {
        CHECK(pthread_create(&asking, NULL, ask, &a) == 0);
        number = question(pair[1]);
        answer(pair[1], number + 1, -E_NOMEM, -1);
        answer(pair[1], number - 1, 0, null); /* to the one before, with what it brings */
        answer(pair[1], number, -E_BUSY, -1);
        answer(pair[1], number, 0, null); /* twice */
        CHECK(pthread_join(asking, NULL) == 0);
        CHECK_EQ(a.r, -E_BUSY);
        CHECK_EQ(a.fd, -1);
    }
    CHECK(pthread_create(&asking, NULL, ask, &a) == 0);
    number = question(pair[1]);
    answer(pair[1], number, 0, null);
    CHECK(pthread_join(asking, NULL) == 0);
    CHECK_OK(a.r);
    CHECK(a.fd >= 0);
    close(a.fd);
    CHECK_EQ(open_files(), n);
    return 0;
}

TEST(test_daemon__a_late_answer_is_not_taken_for_the_next_ones)
{
    int status;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0)
        _exit(late_answers());
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_EQ(status, 0);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
