#include "plugin/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define WHY_MAX 256

static const char *const names[] = {"ca.crt", "tls.crt", "tls.key"};

struct file_id {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec at;
};

struct tls_files {
    char *dir, *peer; /* peer: the name that the other side has to have */
    enum tls_side side;
    struct file_id ids[ARRAY_LEN(names)];
    bool looked;
    uint64_t version;
    SSL_CTX *ctx; /* NULL: they cannot be used */
    char why[WHY_MAX];
};

struct tls {
    SSL *ssl;
    BIO *net_in, *net_out; /* the SSL's */
    struct buf out;
    bool open;
    char why[WHY_MAX];
};

/* --- the files ------------------------------------------------------------------------------------------------------------- */

int tls_files_new(const char *dir, const char *driver, enum tls_side side, struct tls_files **ret)
{
    struct tls_files *f = calloc(1, sizeof(*f));

    if (!f)
        return -E_NOMEM;
    f->side = side;
    f->dir = strdup(dir);
    if (asprintf(&f->peer, "%s.%s", side == TLS_NODE ? "controller" : "node", driver) < 0)
        f->peer = NULL;
    snprintf(f->why, sizeof(f->why), "nobody has looked yet");
    if (!f->dir || !f->peer) {
        tls_files_free(f);
        return -E_NOMEM;
    }
    *ret = f;
    return 0;
}

void tls_files_free(struct tls_files *f)
{
    if (!f)
        return;
    SSL_CTX_free(f->ctx);
    free(f->dir);
    free(f->peer);
    free(f);
}

static int path_of(const struct tls_files *f, size_t i, char to[4096])
{
    return snprintf(to, 4096, "%s/%s", f->dir, names[i]) < 4096 ? 0 : -E_NAMETOOLONG;
}

/* What lies there now: another file, or another content of it, is another id. The one that is missing: i. */
static int look(const struct tls_files *f, struct file_id ids[ARRAY_LEN(names)], size_t *ret_missing)
{
    char path[4096];
    struct stat st;

    memset(ids, 0, ARRAY_LEN(names) * sizeof(*ids));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        *ret_missing = i;
        if (path_of(f, i, path) < 0 || stat(path, &st) < 0)
            return -E_NOENT;
        ids[i].dev = st.st_dev;
        ids[i].ino = st.st_ino;
        ids[i].size = st.st_size;
        ids[i].at = st.st_mtim;
    }
    return 0;
}

static const char *reason(void)
{
    unsigned long e = ERR_peek_last_error();
    const char *s =
        ERR_SYSTEM_ERROR(e) ? err_text(err_from_errno(ERR_GET_REASON(e))) : ERR_reason_error_string(e);

    return s ? s : "it is not understood";
}

static int no_passphrase(char *to, int size, int writes, void *arg)
{
    (void)to;
    (void)size;
    (void)writes;
    (void)arg;
    return -1; /* else it would be asked for on a terminal */
}

static int select_h2(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                     unsigned in_len, void *arg)
{
    (void)ssl;
    (void)arg;
    for (unsigned i = 0; i < in_len; i += in[i] + 1u)
        if (in[i] == 2 && i + 2 < in_len && in[i + 1] == 'h' && in[i + 2] == '2') {
            *out = in + i + 1;
            *out_len = 2;
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void set_up(const struct tls_files *f, SSL_CTX *ctx)
{
    static const unsigned char h2[] = {2, 'h', '2'};

    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (BROKEN(VARVE_BREAK_tls_anybody))
        SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    if (f->side == TLS_NODE)
        SSL_CTX_set_alpn_select_cb(ctx, select_h2, NULL);
    else
        SSL_CTX_set_alpn_protos(ctx, h2, sizeof(h2)); /* 0 where it went well */
}

/* OpenSSL would open it in such a way that a child, started at this moment, has it, too: the key. */
static BIO *open_file(const struct tls_files *f, size_t i)
{
    char path[4096];
    FILE *s = path_of(f, i, path) < 0 ? NULL : fopen(path, "re");
    BIO *b = s ? BIO_new_fp(s, BIO_CLOSE) : NULL;

    if (!s)
        ERR_raise(ERR_LIB_SYS, errno);
    else if (!b)
        fclose(s);
    return b;
}

/* There is no further one; else what there is cannot be read. */
static bool at_end(void)
{
    return ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
}

static bool take_ca(SSL_CTX *ctx, BIO *b)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    size_t n = 0;
    bool ok = true;

    for (X509 *x; ok && (x = PEM_read_bio_X509_AUX(b, NULL, no_passphrase, NULL)); n++) {
        ok = X509_STORE_add_cert(store, x) == 1;
        X509_free(x);
    }
    return ok && n > 0 && at_end();
}

static bool take_crt(SSL_CTX *ctx, BIO *b)
{
    X509 *x = PEM_read_bio_X509_AUX(b, NULL, no_passphrase, NULL);
    bool ok = x && SSL_CTX_use_certificate(ctx, x) == 1;

    X509_free(x);
    while (ok && (x = PEM_read_bio_X509(b, NULL, no_passphrase, NULL))) {
        ok = SSL_CTX_add1_chain_cert(ctx, x) == 1;
        X509_free(x);
    }
    return ok && at_end();
}

static bool take_key(SSL_CTX *ctx, BIO *b)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(b, NULL, no_passphrase, NULL);
    bool ok = key && SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_check_private_key(ctx) == 1;

    EVP_PKEY_free(key);
    return ok;
}

/* Which of them is wrong; NULL: none. */
static const char *load(const struct tls_files *f, SSL_CTX *ctx)
{
    static bool (*const takes[])(SSL_CTX * ctx, BIO * b) = {take_ca, take_crt, take_key};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        BIO *b = open_file(f, i);
        bool ok = b && takes[i](ctx, b);

        BIO_free(b);
        if (!ok)
            return names[i];
        ERR_clear_error();
    }
    return NULL;
}

static void take(struct tls_files *f)
{
    SSL_CTX *ctx = SSL_CTX_new(f->side == TLS_NODE ? TLS_server_method() : TLS_client_method());
    const char *wrong = "TLS";

    ERR_clear_error();
    if (ctx) {
        set_up(f, ctx);
        wrong = load(f, ctx);
    }
    if (wrong)
        snprintf(f->why, sizeof(f->why), "%.120s/%s: %s", f->dir, wrong, reason());
    if (wrong)
        SSL_CTX_free(ctx);
    else
        f->ctx = ctx;
    ERR_clear_error();
}

bool tls_files_look(struct tls_files *f, uint64_t *ret_version)
{
    struct file_id now[ARRAY_LEN(names)], after[ARRAY_LEN(names)];
    size_t missing;
    int r = look(f, now, &missing);

    if (!f->looked || memcmp(now, f->ids, sizeof(now)) != 0) {
        SSL_CTX_free(f->ctx); /* connections have references of their own */
        f->ctx = NULL;
        f->version++;
        if (r < 0)
            snprintf(f->why, sizeof(f->why), "%.120s/%s: is missing", f->dir, names[missing]);
        else
            take(f);
        look(f, after, &missing);
        f->looked = memcmp(now, after, sizeof(now)) == 0; /* else they changed while they were read: again */
        memcpy(f->ids, now, sizeof(now));
    }
    if (ret_version)
        *ret_version = f->version;
    return f->ctx != NULL;
}

const char *tls_files_why(const struct tls_files *f)
{
    return f->ctx ? "" : f->why;
}

/* --- one connection -------------------------------------------------------------------------------------------------------- */

static int expect(const struct tls_files *f, SSL *ssl)
{
    X509_VERIFY_PARAM *p = SSL_get0_param(ssl);

    X509_VERIFY_PARAM_set_hostflags(p, X509_CHECK_FLAG_NO_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (BROKEN(VARVE_BREAK_tls_name))
        return 0;
    return X509_VERIFY_PARAM_set1_host(p, f->peer, strlen(f->peer)) == 1 ? 0 : -E_NOMEM;
}

int tls_new(struct tls_files *f, struct tls **ret)
{
    struct tls *t;

    if (!f->ctx)
        return -E_KEY;
    t = calloc(1, sizeof(*t));
    if (!t)
        return -E_NOMEM;
    t->ssl = SSL_new(f->ctx);
    t->net_in = BIO_new(BIO_s_mem());
    t->net_out = BIO_new(BIO_s_mem());
    if (!t->ssl || !t->net_in || !t->net_out || expect(f, t->ssl) < 0) {
        BIO_free(t->net_in);
        BIO_free(t->net_out);
        SSL_free(t->ssl);
        free(t);
        return -E_NOMEM;
    }
    BIO_set_mem_eof_return(t->net_in, -1); /* empty: more may come */
    SSL_set_bio(t->ssl, t->net_in, t->net_out);
    if (f->side == TLS_NODE) {
        SSL_set_accept_state(t->ssl);
    } else {
        SSL_set_tlsext_host_name(t->ssl, f->peer);
        SSL_set_connect_state(t->ssl);
    }
    *ret = t;
    return 0;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    buf_free(&t->out);
    free(t);
}

int tls_in(struct tls *t, const uint8_t *p, size_t len)
{
    return BIO_write(t->net_in, p, (int)len) == (int)len ? 0 : -E_NOMEM;
}

static int failed(struct tls *t)
{
    long said = SSL_get_verify_result(t->ssl);

    if (said != X509_V_OK)
        snprintf(t->why, sizeof(t->why), "its certificate is refused: %s",
                 X509_verify_cert_error_string(said));
    else
        snprintf(t->why, sizeof(t->why), "TLS: %s", reason());
    ERR_clear_error();
    return -E_PROTO;
}

/* The handshake is over; without h2 it may have been another program's. */
static int opened(struct tls *t)
{
    const unsigned char *name;
    unsigned len;

    SSL_get0_alpn_selected(t->ssl, &name, &len);
    if (len != 2 || memcmp(name, "h2", 2) != 0) {
        snprintf(t->why, sizeof(t->why), "TLS: it does not speak h2");
        return -E_PROTO;
    }
    t->open = true;
    return 0;
}

static int shake(struct tls *t)
{
    int n = SSL_do_handshake(t->ssl);

    if (n == 1)
        return opened(t);
    return SSL_get_error(t->ssl, n) == SSL_ERROR_WANT_READ ? -E_AGAIN : failed(t);
}

int tls_read(struct tls *t, uint8_t *to, size_t room, size_t *ret_len)
{
    int r = 0, n;

    *ret_len = 0;
    ERR_clear_error();
    if (!t->open)
        r = shake(t);
    if (r < 0)
        return r == -E_AGAIN ? 0 : r;
    n = SSL_read(t->ssl, to, (int)MIN_OF(room, (size_t)INT32_MAX));
    if (n > 0) {
        *ret_len = (size_t)n;
        return 0;
    }
    switch (SSL_get_error(t->ssl, n)) {
    case SSL_ERROR_WANT_READ: return 0;
    case SSL_ERROR_ZERO_RETURN: snprintf(t->why, sizeof(t->why), "it said goodbye"); return -E_CLOSED;
    default: return failed(t);
    }
}

int tls_write(struct tls *t, const uint8_t *p, size_t len)
{
    assert(t->open);
    ERR_clear_error();
    return len == 0 || SSL_write(t->ssl, p, (int)len) == (int)len ? 0 : failed(t);
}

int tls_out(struct tls *t, const uint8_t **ret, size_t *ret_len)
{
    size_t n = BIO_ctrl_pending(t->net_out);

    buf_reset(&t->out);
    *ret_len = 0;
    if (n == 0)
        return 0;
    if (buf_reserve(&t->out, n) < 0)
        return -E_NOMEM;
    if (BIO_read(t->net_out, t->out.data, (int)n) != (int)n)
        return -E_NOMEM;
    t->out.len = n;
    *ret = t->out.data;
    *ret_len = n;
    return 0;
}

bool tls_is_open(const struct tls *t)
{
    return t->open;
}

const char *tls_why(const struct tls *t)
{
    return t->why;
}
