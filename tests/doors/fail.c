/* The n-th call of a kind fails, counted over all processes of a varve: command line, keeper, daemon. VARVE_FAIL names a file of one
 * page that they share (struct order); tests/sweep/processes.py writes the kind and n into it, and reads what failed.
 * The calls are libc's, under their own names, so that libraries meet them, too. */
#undef _FILE_OFFSET_BITS /* would give open and mmap other names */
#undef _FORTIFY_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As processes.py has them, in this order. */
enum kind {
    NONE,
    MOUNT,
    OPEN,
    MMAP,
    THREAD,
    FORK,
    EXEC,
    PAIR,
    PIPE,
    SOCKET,
    CONNECT,
    LISTEN,
    ACCEPT,
    SEND,
    RECV,
    RECV_FD,
    DUP,
    EVENT
};

struct order {
    _Atomic uint32_t kind, left; /* left: 1 is the next one; 0 none */
    _Atomic uint32_t fired;
    char what[116];
};

static struct order *order;

static void say(const char *call)
{
    char name[16] = "?";
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/comm", O_RDONLY | O_CLOEXEC);
    long n = fd >= 0 ? syscall(SYS_read, fd, name, sizeof(name) - 1) : 0;

    if (fd >= 0)
        syscall(SYS_close, fd);
    name[n > 0 ? n - 1 : 0] = 0;
    snprintf(order->what, sizeof(order->what), "%s in %s %ld", call, name, syscall(SYS_getpid));
    atomic_store(&order->fired, 1);
}

static bool fails(enum kind kind, const char *call, int code)
{
    uint32_t left;

    if (!order || atomic_load(&order->kind) != kind)
        return false;
    left = atomic_load(&order->left);
    while (left > 0 && !atomic_compare_exchange_weak(&order->left, &left, left - 1))
        continue;
    if (left != 1)
        return false;
    say(call);
    errno = code;
    return true;
}

__attribute__((constructor)) static void open_door(void)
{
    const char *path = getenv("VARVE_FAIL");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    void *p;

    if (fd < 0)
        return;
    p = (void *)syscall(SYS_mmap, NULL, sizeof(struct order), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0L);
    syscall(SYS_close, fd);
    if (p != MAP_FAILED)
        order = p;
}

#define REAL(name) ((__typeof__(&(name)))(uintptr_t)dlsym(RTLD_NEXT, #name))

int mount(const char *source, const char *dir, const char *type, unsigned long flags, const void *data)
{
    return fails(MOUNT, "mount", ENOMEM) ? -1 : REAL(mount)(source, dir, type, flags, data);
}

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list ap;

    va_start(ap, flags);
    if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))
        mode = va_arg(ap, mode_t);
    va_end(ap);
    return fails(OPEN, "open", EMFILE) ? -1 : REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));

void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
    if (fails(MMAP, "mmap", ENOMEM))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, off);
}

void *mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off) __attribute__((alias("mmap")));

int pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    return fails(THREAD, "pthread_create", EAGAIN) ? EAGAIN : REAL(pthread_create)(t, attr, fn, arg);
}

pid_t fork(void)
{
    return fails(FORK, "fork", EAGAIN) ? -1 : REAL(fork)();
}

int execv(const char *path, char *const *argv)
{
    return fails(EXEC, "execv", ENOMEM) ? -1 : REAL(execv)(path, argv);
}

int socketpair(int domain, int type, int protocol, int fd[2])
{
    return fails(PAIR, "socketpair", EMFILE) ? -1 : REAL(socketpair)(domain, type, protocol, fd);
}

int pipe2(int fd[2], int flags)
{
    return fails(PIPE, "pipe2", EMFILE) ? -1 : REAL(pipe2)(fd, flags);
}

int socket(int domain, int type, int protocol)
{
    return fails(SOCKET, "socket", EMFILE) ? -1 : REAL(socket)(domain, type, protocol);
}

int connect(int fd, const struct sockaddr *a, socklen_t len)
{
    return fails(CONNECT, "connect", EAGAIN) ? -1 : REAL(connect)(fd, a, len);
}

int bind(int fd, const struct sockaddr *a, socklen_t len)
{
    return fails(LISTEN, "bind", ENOSPC) ? -1 : REAL(bind)(fd, a, len);
}

int listen(int fd, int backlog)
{
    return fails(LISTEN, "listen", EADDRINUSE) ? -1 : REAL(listen)(fd, backlog);
}

int accept4(int fd, struct sockaddr *a, socklen_t *len, int flags)
{
    return fails(ACCEPT, "accept4", EMFILE) ? -1 : REAL(accept4)(fd, a, len, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    return fails(SEND, "sendmsg", ENOBUFS) ? -1 : REAL(sendmsg)(fd, m, flags);
}

ssize_t send(int fd, const void *p, size_t len, int flags)
{
    return fails(SEND, "send", ENOBUFS) ? -1 : REAL(send)(fd, p, len, flags);
}

/* A message whose descriptor finds no place in this process: it comes without. */
static void lose_fds(struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        int fd;

        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
            !fails(RECV_FD, "recvmsg, descriptor", 0))
            continue;
        syscall(SYS_close, fd);
        m->msg_controllen = 0;
        m->msg_flags |= MSG_CTRUNC;
        return;
    }
}

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
    ssize_t n;

    if (fails(RECV, "recvmsg", ENOMEM))
        return -1;
    n = REAL(recvmsg)(fd, m, flags);
    if (n > 0)
        lose_fds(m);
    return n;
}

int dup2(int a, int b)
{
    return fails(DUP, "dup2", EMFILE) ? -1 : REAL(dup2)(a, b);
}

int dup3(int a, int b, int flags)
{
    return fails(DUP, "dup3", EMFILE) ? -1 : REAL(dup3)(a, b, flags);
}

int eventfd(unsigned n, int flags)
{
    return fails(EVENT, "eventfd", EMFILE) ? -1 : REAL(eventfd)(n, flags);
}
