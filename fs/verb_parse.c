/* Both parsers of the table: words of a command line, lines of control files. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "conf/value.h"
#include "fs/verb.h"
#include "fs/verb_value.h"

#define WORDS_MAX 256

void verb_args_free(struct verb_args *a)
{
    for (size_t i = 0; i < VERB_ARGS_MAX; i++)
        verb_value_free(&a->vals[i]);
    free(a->target);
    *a = (struct verb_args){0};
}

static size_t args_count(const struct verb *v)
{
    size_t n = 0;

    while (n < VERB_ARGS_MAX && v->args[n].name)
        n++;
    return n;
}

static int arg_index(const struct verb *v, const char *name, size_t len)
{
    for (size_t i = 0; i < args_count(v); i++)
        if (strlen(v->args[i].name) == len && memcmp(v->args[i].name, name, len) == 0)
            return (int)i;
    return -E_NOENT;
}

const struct verb_val *verb_val(const struct verb_args *a, const char *name)
{
    int i = arg_index(a->verb, name, strlen(name));

    assert(i >= 0);
    return &a->vals[i];
}

const char *verb_text(const struct verb_args *a, const char *name)
{
    const struct verb_val *v = verb_val(a, name);

    return v->set ? v->texts[0] : NULL;
}

uint64_t verb_num(const struct verb_args *a, const char *name)
{
    return verb_val(a, name)->num;
}

bool verb_given(const struct verb_args *a, const char *name)
{
    return verb_val(a, name)->set;
}

/* "snapshot create" */
static const char *verb_words(const struct verb *v, char out[64])
{
    snprintf(out, 64, "%s%s%s", v->noun ? v->noun : "", v->noun ? " " : "", v->name);
    return out;
}

static int set_at(struct verb_args *a, size_t i, const char *text, struct buf *err)
{
    char who[96], words[64];

    snprintf(who, sizeof(who), "%s: %s", verb_words(a->verb, words), a->verb->args[i].name);
    return verb_value_set(&a->verb->args[i], text, &a->vals[i], who, err);
}

int verb_set(struct verb_args *a, const char *name, const char *text, struct buf *err)
{
    int i = arg_index(a->verb, name, strlen(name));

    assert(i >= 0);
    return set_at(a, (size_t)i, text, err);
}

int verb_args_print(const struct verb_args *a, struct buf *out)
{
    char words[64], when[CLOCK_TEXT_SIZE];
    int r = buf_puts(out, verb_words(a->verb, words));

    for (size_t i = 0; r == 0 && i < args_count(a->verb); i++) {
        const struct verb_arg *arg = &a->verb->args[i];
        const struct verb_val *v = &a->vals[i];

        for (size_t n = 0; r == 0 && n < v->ntexts; n++) {
            if (arg->type == ARG_SIZE || arg->type == ARG_COUNT || arg->type == ARG_ID ||
                arg->type == ARG_FLAG)
                r = buf_printf(out, " %s=%" PRIu64, arg->name, v->num);
            else if (arg->type == ARG_WHEN)
                r = buf_printf(out, " %s=%s", arg->name,
                               v->when_ns ? (clock_format(v->when_ns, when), when) : "never");
            else
                r = buf_printf(out, " %s=%s", arg->name, v->texts[n]);
        }
    }
    return r;
}

/* What is missing, once all has been read. */
static int complete(const struct verb_args *a, struct buf *err)
{
    char words[64];

    for (size_t i = 0; i < args_count(a->verb); i++)
        if ((a->verb->args[i].flags & ARG_REQUIRED) && !a->vals[i].set) {
            buf_printf(err, "%s: %s is missing: %s", verb_words(a->verb, words), a->verb->args[i].shown,
                       a->verb->args[i].help);
            return -E_USAGE;
        }
    return 0;
}

/* --- which verb --------------------------------------------------------------------------------------------------- */

static int suggest(const char *what, const char *word, const char *const *words, size_t n, struct buf *err)
{
    const char *near = conf_nearest(word, words, n);

    buf_printf(err, "there is no %s \"%.40s\"", what, word);
    if (near)
        buf_printf(err, "; did you mean \"%s\"?", near);
    return -E_USAGE;
}

/* Names of verbs of a noun (NULL: first words of all), or of a control file. */
static size_t names_of(const char *noun, const char *file, const char *words[WORDS_MAX])
{
    size_t count, n = 0;
    const struct verb *t = verb_table(&count);

    for (size_t i = 0; i < count; i++) {
        if (file ? !t[i].file || strcmp(t[i].file, file) != 0
                 : noun && (!t[i].noun || strcmp(t[i].noun, noun) != 0))
            continue;
        words[n++] = !file && !noun && t[i].noun ? t[i].noun : t[i].name;
    }
    if (!file && !noun) {
        words[n++] = "mount";
        words[n++] = "umount";
    }
    return n;
}

static bool is_noun(const char *word)
{
    size_t count;
    const struct verb *t = verb_table(&count);

    for (size_t i = 0; i < count; i++)
        if (t[i].noun && strcmp(t[i].noun, word) == 0)
            return true;
    return false;
}

static void list_names(const char *noun, struct buf *err)
{
    const char *words[WORDS_MAX];
    size_t n = names_of(noun, NULL, words);

    for (size_t i = 0; i < n; i++)
        buf_printf(err, "%s%s", i ? ", " : "", words[i]);
}

/* The verb of a command line; *used: how many words name it. */
static int verb_of_words(int argc, char *const *argv, const struct verb **ret, int *used, struct buf *err)
{
    const char *words[WORDS_MAX];
    const char *noun = argc > 0 && is_noun(argv[0]) ? argv[0] : NULL;

    if (argc == 0) {
        buf_puts(err, "a command is missing; varve --help lists them");
        return -E_USAGE;
    }
    if (noun && argc < 2) {
        buf_printf(err, "%s: what to do is missing; one of ", noun);
        list_names(noun, err);
        return -E_USAGE;
    }
    *used = noun ? 2 : 1;
    *ret = verb_find(noun, argv[*used - 1]);
    if (*ret)
        return 0;
    return suggest(noun ? noun : "command", argv[*used - 1], words, names_of(noun, NULL, words), err);
}

/* --- words -------------------------------------------------------------------------------------------------------- */

static int unknown_option(const struct verb *v, const char *name, size_t len, const char *dashes,
                          struct buf *err)
{
    const char *names[VERB_ARGS_MAX + 2], *near;
    size_t n = args_count(v);
    char word[41], words[64];

    for (size_t i = 0; i < n; i++)
        names[i] = v->args[i].name;
    if (*dashes) {
        names[n++] = "json";
        names[n++] = "help";
    }
    snprintf(word, sizeof(word), "%.*s", (int)MIN_OF(len, 40), name);
    near = conf_nearest(word, names, n);
    buf_printf(err, "%s: there is no option %s%s", verb_words(v, words), dashes, word);
    if (near)
        buf_printf(err, "; did you mean %s%s?", dashes, near);
    return -E_USAGE;
}

/* One --option at argv[*i]; its value may be the next word. */
static int option(struct verb_args *a, int argc, char *const *argv, int *i, struct buf *err)
{
    const char *name = argv[*i] + 2, *eq = strchr(name, '=');
    size_t len = eq ? (size_t)(eq - name) : strlen(name);
    int at = arg_index(a->verb, name, len);
    char words[64];

    if (len == 4 && memcmp(name, "json", 4) == 0 && !eq) {
        a->json = true;
        return 0;
    }
    if (at < 0)
        return unknown_option(a->verb, name, len, "--", err);
    if (eq)
        return set_at(a, (size_t)at, eq + 1, err);
    if (a->verb->args[at].type == ARG_FLAG)
        return set_at(a, (size_t)at, "yes", err);
    if (*i + 1 >= argc) {
        buf_printf(err, "%s: --%s needs a value: %s", verb_words(a->verb, words), name,
                   a->verb->args[at].shown);
        return -E_USAGE;
    }
    return set_at(a, (size_t)at, argv[++*i], err);
}

/* Words that must be there beside the target; what was given as an option is there already. */
static size_t words_required(const struct verb_args *a)
{
    size_t n = 0;

    for (size_t i = 0; i < args_count(a->verb); i++)
        n += (a->verb->args[i].flags & (ARG_REQUIRED | ARG_WORD)) == (ARG_REQUIRED | ARG_WORD) &&
             !a->vals[i].set;
    return n;
}

/* The target, then the arguments that stand as words. */
static int place_words(struct verb_args *a, char *const *w, size_t n, struct buf *err)
{
    const struct verb *v = a->verb;
    bool target = v->need == NEED_ANY ? n > words_required(a) : v->need != NEED_NOTHING;
    size_t at = 0, nargs = args_count(v);
    char words[64];
    int r = 0;

    if (target && n == 0) {
        buf_printf(err, "%s: %s is missing", verb_words(v, words), v->target);
        return -E_USAGE;
    }
    if (target && !(a->target = strdup(w[at++])))
        return -E_NOMEM;
    for (size_t i = 0; r == 0 && i < nargs && at < n; i++) {
        if (!(v->args[i].flags & ARG_WORD) || a->vals[i].set)
            continue;
        do
            r = set_at(a, i, w[at++], err);
        while (r == 0 && at < n && (v->args[i].flags & ARG_MANY));
    }
    if (r == 0 && at < n) {
        buf_printf(err, "%s: \"%.40s\" is one word too many", verb_words(v, words), w[at]);
        r = -E_USAGE;
    }
    return r;
}

static int parse_words(int argc, char *const *argv, struct verb_args *a, struct buf *err)
{
    char *words[WORDS_MAX];
    bool options = true;
    size_t n = 0;
    int r, i;

    r = verb_of_words(argc, argv, &a->verb, &i, err);
    for (; r == 0 && i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            a->help = true;
            return 0;
        } else if (options && strncmp(argv[i], "--", 2) == 0) {
            r = option(a, argc, argv, &i, err);
        } else if (options && argv[i][0] == '-' && argv[i][1]) {
            r = unknown_option(a->verb, argv[i] + 1, strlen(argv[i] + 1), "-", err);
        } else if (n == WORDS_MAX) {
            r = -E_TOOBIG;
        } else {
            words[n++] = argv[i];
        }
    }
    if (r == 0)
        r = place_words(a, words, n, err);
    return r < 0 ? r : complete(a, err);
}

int verb_parse_words(int argc, char *const *argv, struct verb_args *ret, struct buf *err)
{
    struct verb_args a = {0};
    int r = parse_words(argc, argv, &a, err);

    if (r < 0)
        verb_args_free(&a);
    else
        *ret = a;
    return r;
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

/* The next word of a line into b: blanks end it, "..." keeps them, \ takes the next character in quotes as it is.
 * 1 a word, 0 the end. */
static int next_word(const char **p, const char *end, struct buf *b, struct buf *err)
{
    bool quoted = false;
    int r = 0;

    buf_reset(b);
    while (*p < end && (**p == ' ' || **p == '\t' || **p == '\r'))
        (*p)++;
    if (*p == end || **p == '#')
        return 0;
    for (; r == 0 && *p < end && (quoted || (**p != ' ' && **p != '\t' && **p != '\r')); (*p)++) {
        if (!**p) {
            buf_puts(err, "the line holds a NUL byte; write text");
            return -E_USAGE;
        }
        if (**p == '"')
            quoted = !quoted;
        else if (quoted && **p == '\\' && *p + 1 < end)
            r = buf_add(b, ++*p, 1);
        else
            r = buf_add(b, *p, 1);
    }
    if (quoted) {
        buf_puts(err, "a quote is not closed; write \"...\"");
        return -E_USAGE;
    }
    if (r == 0 && !buf_cstr(b))
        r = -E_NOMEM;
    return r < 0 ? r : 1;
}

/* The first argument that may stand as a word: the name. */
static int name_index(const struct verb *v)
{
    for (size_t i = 0; i < args_count(v); i++)
        if (v->args[i].flags & ARG_WORD)
            return (int)i;
    return -E_NOENT;
}

static int plain_word(struct verb_args *a, const char *word, bool *named, struct buf *err)
{
    int at = name_index(a->verb), flag = arg_index(a->verb, word, strlen(word));
    char words[64];

    if (at >= 0 && !*named && !a->vals[at].set) {
        *named = true;
        return set_at(a, (size_t)at, word, err);
    }
    if (flag >= 0 && a->verb->args[flag].type == ARG_FLAG && !(a->verb->args[flag].flags & ARG_CLI_ONLY))
        return set_at(a, (size_t)flag, "yes", err);
    buf_printf(err, "%s: \"%.40s\" is one word too many; write key=value", verb_words(a->verb, words), word);
    for (size_t i = 0; i < args_count(a->verb); i++)
        if (!(a->verb->args[i].flags & ARG_CLI_ONLY))
            buf_printf(err, ", %s=", a->verb->args[i].name);
    return -E_USAGE;
}

static int line_word(struct verb_args *a, const char *word, bool *named, struct buf *err)
{
    const char *eq = strchr(word, '=');
    int at;

    if (!eq)
        return plain_word(a, word, named, err);
    at = arg_index(a->verb, word, (size_t)(eq - word));
    if (at < 0 || (a->verb->args[at].flags & ARG_CLI_ONLY))
        return unknown_option(a->verb, word, (size_t)(eq - word), "", err);
    return set_at(a, (size_t)at, eq + 1, err);
}

/* The verb at the beginning of a line; file NULL: any. */
static int verb_of_line(const char *file, const char **p, const char *end, struct buf *word,
                        const struct verb **ret, struct buf *err)
{
    cleanup(buf_free) struct buf noun = {0};
    const char *words[WORDS_MAX];
    const struct verb *v = NULL;
    int r = next_word(p, end, word, err);

    if (r <= 0)
        return r;
    if (is_noun(buf_cstr(word))) {
        if ((r = buf_puts(&noun, buf_cstr(word))) < 0 || (r = next_word(p, end, word, err)) < 0)
            return r;
        if (r == 0) {
            buf_printf(err, "%s: what to do is missing; one of ", buf_cstr(&noun));
            list_names(buf_cstr(&noun), err);
            return -E_USAGE;
        }
    }
    v = file ? verb_find_in(file, noun.len ? buf_cstr(&noun) : NULL, buf_cstr(word))
             : verb_find(noun.len ? buf_cstr(&noun) : NULL, buf_cstr(word));
    if (!v)
        return suggest(file ? "command of this file," : "command", buf_cstr(word), words,
                       names_of(NULL, file, words), err);
    *ret = v;
    return 1;
}

static int parse_line(const char *file, const char *p, const char *end, struct verb_args *a, struct buf *err)
{
    cleanup(buf_free) struct buf word = {0};
    bool named = false;
    int r = verb_of_line(file, &p, end, &word, &a->verb, err);

    if (r <= 0)
        return r;
    while ((r = next_word(&p, end, &word, err)) > 0)
        if ((r = line_word(a, buf_cstr(&word), &named, err)) < 0)
            break;
    return r < 0 ? r : complete(a, err);
}

/* As next_word() reads it. */
int verb_line_add(struct buf *line, const char *key, const char *text)
{
    int r = text ? buf_printf(line, " %s=\"", key) : 0;

    for (; r == 0 && text && *text; text++)
        r = *text == '"' || *text == '\\' ? buf_printf(line, "\\%c", *text) : buf_add(line, text, 1);
    return r < 0 || !text ? r : buf_puts(line, "\"");
}

int verb_parse_line(const char *file, const char *line, size_t len, struct verb_args *ret, struct buf *err)
{
    struct verb_args a = {0};
    int r = parse_line(file, line, line + len, &a, err);

    if (r < 0)
        verb_args_free(&a);
    else
        *ret = a;
    return r;
}
