#include "tier/s3_xml.h"

#include <expat.h>
#include <stdio.h>

#define DEPTH 8
#define PATH_SIZE 512

struct parsing {
    XML_Parser x;
    char path[PATH_SIZE];
    size_t lens[DEPTH]; /* of path, before each element's name */
    unsigned depth;
    bool leaf;
    char text[S3_XML_TEXT];
    size_t len;
    int (*fn)(void *arg, const char *path, const char *text);
    void *arg;
    int result;
};

static void stop(struct parsing *p, int result)
{
    if (p->result == 0)
        p->result = result;
    XML_StopParser(p->x, XML_FALSE);
}

static void on_start(void *arg, const XML_Char *name, const XML_Char **attrs)
{
    struct parsing *p = arg;
    size_t at = strlen(p->path);
    int n;

    (void)attrs;
    if (p->depth == DEPTH) {
        stop(p, -E_PROTO);
        return;
    }
    p->lens[p->depth++] = at;
    n = snprintf(p->path + at, PATH_SIZE - at, "%s%s", at ? "/" : "", name);
    p->leaf = true;
    p->len = 0;
    if (n < 0 || (size_t)n >= PATH_SIZE - at)
        stop(p, -E_PROTO);
}

static void on_text(void *arg, const XML_Char *s, int len)
{
    struct parsing *p = arg;

    if (!p->leaf)
        return;
    if (p->len + (size_t)len >= sizeof(p->text)) {
        stop(p, -E_PROTO);
        return;
    }
    memcpy(p->text + p->len, s, (size_t)len);
    p->len += (size_t)len;
}

static void on_end(void *arg, const XML_Char *name)
{
    struct parsing *p = arg;
    int r;

    (void)name;
    p->text[p->len] = 0;
    r = p->fn(p->arg, p->path, p->leaf ? p->text : NULL);
    p->leaf = false;
    p->path[p->lens[--p->depth]] = 0;
    if (r != 0)
        stop(p, r);
}

/* Answers have no document types: one could grow without bound. */
static void on_doctype(void *arg, const XML_Char *name, const XML_Char *sys, const XML_Char *pub, int inner)
{
    (void)name, (void)sys, (void)pub, (void)inner;
    stop(arg, -E_PROTO);
}

int s3_xml_each(const void *p, size_t len, int (*fn)(void *arg, const char *path, const char *text),
                void *arg)
{
    struct parsing s = {.x = XML_ParserCreate(NULL), .fn = fn, .arg = arg};

    if (!s.x)
        return -E_NOMEM;
    XML_SetUserData(s.x, &s);
    XML_SetElementHandler(s.x, on_start, on_end);
    XML_SetCharacterDataHandler(s.x, on_text);
    XML_SetStartDoctypeDeclHandler(s.x, on_doctype);
    if (len > INT32_MAX || XML_Parse(s.x, p, (int)len, 1) == XML_STATUS_ERROR)
        s.result = s.result ? s.result : XML_GetErrorCode(s.x) == XML_ERROR_NO_MEMORY ? -E_NOMEM : -E_PROTO;
    XML_ParserFree(s.x);
    return s.result;
}

static int error_one(void *arg, const char *path, const char *text)
{
    struct s3_error *e = arg;
    const struct {
        const char *path;
        char *to;
        size_t size;
    } wanted[] = {{"Error/Code", e->code, sizeof(e->code)},
                  {"Error/Message", e->message, sizeof(e->message)},
                  {"Error/Region", e->region, sizeof(e->region)},
                  {"Error/Endpoint", e->endpoint, sizeof(e->endpoint)}};

    for (size_t i = 0; text && i < ARRAY_LEN(wanted); i++)
        if (strcmp(path, wanted[i].path) == 0)
            snprintf(wanted[i].to, wanted[i].size, "%s", text);
    return 0;
}

/* It goes into sentences and logs. */
static void printable(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = ' ';
}

bool s3_xml_error(const void *p, size_t len, struct s3_error *ret)
{
    *ret = (struct s3_error){.code = ""};
    if (len == 0 || s3_xml_each(p, len, error_one, ret) < 0 || !ret->code[0])
        return false;
    printable(ret->code);
    printable(ret->message);
    printable(ret->region);
    printable(ret->endpoint);
    return true;
}
