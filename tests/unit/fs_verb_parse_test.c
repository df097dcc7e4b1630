/* Each verb said both ways, and everything that can be said wrongly. */
#include "fs/verb.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tests/lib/test.h"

#define WORDS_MAX 24

/* Words apart at blanks; '^' stands for a blank inside a word. */
static int split(char *text, char *argv[WORDS_MAX])
{
    char *save;
    int n = 0;

    for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        for (char *p = w; *p; p++)
            if (*p == '^')
                *p = ' ';
        argv[n++] = w;
    }
    return n;
}

static int by_words(const char *text, struct verb_args *ret, struct buf *err)
{
    char copy[4096], *argv[WORDS_MAX];

    snprintf(copy, sizeof(copy), "%s", text);
    return verb_parse_words(split(copy, argv), argv, ret, err);
}

static int by_line(const char *file, const char *line, struct verb_args *ret, struct buf *err)
{
    return verb_parse_line(file, line, strlen(line), ret, err);
}

/* words: of the command line, with its target T; line: of a control file; printed: what both mean. */
static const struct both {
    const char *words, *line, *printed;
} both[] = {
    {"create T", "create", "create"},
    {"create T --size 10G --inodes 1M --snapshot-limit=1T", "create size=10G inodes=1M snapshot-limit=1T",
     "create size=10737418240 inodes=1000000 snapshot-limit=1099511627776"},
    {"list T", "list", "list"},
    {"status T", "status", "status"},
    {"snapshot create T", "snapshot create", "snapshot create"},
    {"snapshot create T x", "snapshot create x", "snapshot create name=x"},
    {"snapshot create T x", "snapshot create name=x", "snapshot create name=x"},
    {"snapshot create T --name x", "snapshot create x", "snapshot create name=x"},
    {"snapshot create T x --label a=1 --label b=2=3 --expire 2030-01-02 --hold me --sync",
     "snapshot create x label=a=1 label=b=2=3 expire=2030-01-02 hold=me sync",
     "snapshot create name=x label=a=1 label=b=2=3 expire=2030-01-02T00:00:00Z hold=me sync=1"},
    {"snapshot create --sync T x", "snapshot create sync=yes name=x", "snapshot create name=x sync=1"},
    {"snapshot create T a^b", "snapshot create \"a b\"", "snapshot create name=a b"},
    {"snapshot create T --label k=\"q\\", "snapshot create label=\"k=\\\"q\\\\\"",
     "snapshot create label=k=\"q\\"},
    {"snapshot group T x a b --label k=v --sync", "snapshot group x volume=a volume=b label=k=v sync",
     "snapshot group name=x volume=a volume=b label=k=v sync=1"},
    {"snapshot delete T x", "snapshot delete x", "snapshot delete name=x"},
    {"snapshot delete T -- --x", "snapshot delete --x", "snapshot delete name=--x"},
    {"snapshot rename T x y", "snapshot rename x to=y", "snapshot rename name=x to=y"},
    {"snapshot rename T x y", "snapshot rename to=y name=x", "snapshot rename name=x to=y"},
    {"snapshot list T", "snapshot list", "snapshot list"},
    {"snapshot show T @latest", "snapshot show @latest", "snapshot show name=@latest"},
    {"snapshot ranges T x", "snapshot ranges x", "snapshot ranges name=x"},
    {"snapshot ranges T x --base y --from 4096 --limit 5", "snapshot ranges x base=y from=4096 limit=5",
     "snapshot ranges name=x base=y from=4096 limit=5"},
    {"snapshot hold T x", "snapshot hold x", "snapshot hold name=x"},
    {"snapshot hold T x backup:1", "snapshot hold x tag=backup:1", "snapshot hold name=x tag=backup:1"},
    {"snapshot release T x --tag=b", "snapshot release x tag=b", "snapshot release name=x tag=b"},
    {"snapshot label T x a=1 b=", "snapshot label x label=a=1 label=b=",
     "snapshot label name=x label=a=1 label=b="},
    {"snapshot label T x --remove a", "snapshot label x remove=a", "snapshot label name=x remove=a"},
    {"snapshot expire T x 7d", "snapshot expire x at=7d", "snapshot expire name=x at=2001-09-16T01:46:40Z"},
    {"snapshot expire T x +1h", "snapshot expire x at=+1h", "snapshot expire name=x at=2001-09-09T02:46:40Z"},
    {"snapshot expire T x never", "snapshot expire x at=never", "snapshot expire name=x at=never"},
    {"diff T a", "diff a", "diff a=a"},
    {"diff T a b", "diff a b=b", "diff a=a b=b"},
    {"rollback T x", "rollback x", "rollback name=x"},
    {"clone T new", "clone new", "clone to=new"},
    {"clone T new --snap s", "clone new snap=s", "clone to=new snap=s"},
    {"resize T 1.5G", "resize 1.5G", "resize size=1610612736"},
    {"resize T none", "resize size=none", "resize size=0"},
    {"rename T new", "rename new", "rename to=new"},
    {"delete T", "delete", "delete"},
    {"undelete T", "undelete", "undelete"},
    {"job list T", "job list", "job list"},
    {"job list", "job list", "job list"},
    {"job wait T 5", "job wait 5", "job wait id=5"},
    {"job wait T --id=5", "job wait id=5", "job wait id=5"},
    {"job wait --id 5", "job wait id=5", "job wait id=5"},
    {"job wait 5", "job wait id=5", "job wait id=5"},
    {"job cancel 5", "job cancel 5", "job cancel id=5"},
    {"events", "events", "events"},
    {"events T --since 7", "events since=7", "events since=7"},
    {"doctor", "doctor", "doctor"},
    {"doctor /x", "doctor /x", "doctor store=/x"},
    {"check T", "check", "check"},
    {"upgrade T", "upgrade", "upgrade"},
    {"create T --from r#latest --no-hydrate --key-file /k", "create from=r#latest no-hydrate key-file=/k",
     "create from=r#latest no-hydrate=1 key-file=/k"},
    {"hydrate T", "hydrate", "hydrate"},
    {"scrub T", "scrub", "scrub"},
    {"scrub T --rate 20M", "scrub rate=20M", "scrub rate=20971520"},
    {"repo init dir:/x --key-file k", "repo init dir:/x key-file=k", "repo init repo=dir:/x key-file=k"},
    {"repo add n dir:/x --init", "repo add n url=dir:/x init", "repo add name=n url=dir:/x init=1"},
    {"repo remove n", "repo remove n", "repo remove name=n"},
    {"repo list", "repo list", "repo list"},
    {"repo pins dir:/x", "repo pins dir:/x", "repo pins repo=dir:/x"},
    {"repo forget dir:/x v", "repo forget dir:/x volume=v", "repo forget repo=dir:/x volume=v"},
    {"repo domains dir:/x", "repo domains dir:/x", "repo domains repo=dir:/x"},
    {"repo shred dir:/x v --force", "repo shred dir:/x domain=v force",
     "repo shred repo=dir:/x domain=v force=1"},
    {"backup run T --to n --domain own", "backup run to=n domain=own", "backup run to=n domain=own"},
    {"repo show n", "repo show n", "repo show repo=n"},
    {"repo test n", "repo test n", "repo test repo=n"},
    {"repo verify n --full", "repo verify n full", "repo verify repo=n full=1"},
    {"repo prune n --grace 2h --dry-run", "repo prune n grace=2h dry-run",
     "repo prune repo=n grace=2h dry-run=1"},
    {"repo transition n GLACIER --older 30d --dry-run", "repo transition n class=GLACIER older=30d dry-run",
     "repo transition repo=n class=GLACIER older=30d dry-run=1"},
    {"repo unlock n --force", "repo unlock n force", "repo unlock repo=n force=1"},
    {"repo key remove n 12345678", "repo key remove repo=n id=12345678",
     "repo key action=remove repo=n id=12345678"},
    {"backup run T --to n --snap s", "backup run to=n snap=s", "backup run to=n snap=s"},
    {"backup run T --to n --attach a=/f --attach /g --label k=v",
     "backup run to=n attach=a=/f attach=/g label=k=v", "backup run to=n attach=a=/f attach=/g label=k=v"},
    {"tier release T n a b --larger 1M --older 30d", "tier release n path=a path=b larger=1M older=30d",
     "tier release to=n path=a path=b larger=1048576 older=30d"},
    {"tier status T", "tier status", "tier status"},
    {"tier pin T a/b c", "tier pin path=a/b path=c", "tier pin path=a/b path=c"},
    {"tier unpin T", "tier unpin", "tier unpin"},
    {"tier run T --to n --after 30d --by change --larger 1K --smaller 1M --high 80 --low 70 --upload --whole",
     "tier run to=n after=30d by=change larger=1K smaller=1M high=80 low=70 upload whole",
     "tier run to=n after=30d by=change larger=1024 smaller=1048576 high=80 low=70 upload=1 whole=1"},
    {"tier run T --pattern *.x --snap s", "tier run pattern=*.x snap=s", "tier run pattern=*.x snap=s"},
    {"tier recall T a/b c", "tier recall path=a/b path=c", "tier recall path=a/b path=c"},
    {"migrate plan T mv --from a --to b --volume v --label k=v --larger 1M --smaller 2M",
     "migrate plan mv from=a to=b volume=v label=k=v larger=1M smaller=2M",
     "migrate plan name=mv from=a to=b volume=v label=k=v larger=1048576 smaller=2097152"},
    {"migrate run T mv --from a --to b --to-key-file /k --older 1d --newer 2d --bandwidth 1K --verify 5% "
     "--delete-source",
     "migrate run mv from=a to=b to-key-file=/k older=1d newer=2d bandwidth=1K verify=5% delete-source",
     "migrate run name=mv from=a to=b to-key-file=/k older=1d newer=2d "
     "bandwidth=1024 verify=5% "
     "delete-source=1"},
    {"migrate status T mv", "migrate status mv", "migrate status name=mv"},
    {"migrate cancel T mv --forget", "migrate cancel mv forget=yes", "migrate cancel name=mv forget=1"},
    {"backup list n --volume v", "backup list n volume=v", "backup list repo=n volume=v"},
    {"backup show n#latest", "backup show n#latest", "backup show point=n#latest"},
    {"backup delete n#12345678", "backup delete n#12345678", "backup delete point=n#12345678"},
    {"backup delete n#12345678 --undo 7d", "backup delete n#12345678 undo=7d",
     "backup delete point=n#12345678 undo=7d"},
    {"backup owner n web --take 3 --by u", "backup owner n name=web take=3 by=u",
     "backup owner repo=n name=web take=3 by=u"},
    {"backup undelete n 12345678", "backup undelete n id=12345678", "backup undelete repo=n id=12345678"},
    {"backup expire n --volume v --older 90d --keep 3 --daily 7 --dry-run",
     "backup expire n volume=v older=90d keep=3 daily=7 dry-run",
     "backup expire repo=n volume=v older=90d keep=3 daily=7 dry-run=1"},
    {"backup copy n#latest m --to-key-file /k", "backup copy n#latest to=m to-key-file=/k",
     "backup copy point=n#latest to=m to-key-file=/k"},
    {"backup diff n#12345678 latest a/b", "backup diff n#12345678 b=latest path=a/b",
     "backup diff point=n#12345678 b=latest path=a/b"},
    {"backup export n#latest /f --to-key-file /k", "backup export n#latest file=/f to-key-file=/k",
     "backup export point=n#latest file=/f to-key-file=/k"},
    {"backup import - --to n --key-file /k", "backup import - to=n key-file=/k",
     "backup import file=- to=n key-file=/k"},
    {"backup status n", "backup status n", "backup status repo=n"},
    {"export T dir:/p --plain --snap s --delete", "export dir:/p plain=yes snap=s delete",
     "export url=dir:/p snap=s plain=1 delete=1"},
    {"restore n#latest /s/v:d --overwrite --resume", "restore n#latest to=/s/v:d overwrite resume",
     "restore point=n#latest to=/s/v:d overwrite=1 resume=1"},
    {"restore n#12345678 a /d", "restore n#12345678 to=a to=/d", "restore point=n#12345678 to=a to=/d"},
    {"create T --profile gold", "create profile=gold", "create profile=gold"},
    {"profile list", "profile list", "profile list"},
    {"profile show gold", "profile show gold", "profile show name=gold"},
    {"profile add /f --name x --replace", "profile add /f name=x replace",
     "profile add file=/f name=x replace=1"},
    {"profile remove gold", "profile remove gold", "profile remove name=gold"},
    {"profile import /f --name x", "profile import /f name=x", "profile import file=/f name=x"},
    {"profile export gold --opensds", "profile export gold opensds", "profile export name=gold opensds=1"},
    {"profile check /f", "profile check /f", "profile check file=/f"},
    {"profile set T gold", "profile set gold", "profile set name=gold"},
    {"profile get T", "profile get", "profile get"},
    {"config check /f", "config check /f", "config check file=/f"},
    {"config show /s", "config show /s", "config show store=/s"},
    {"config reload T", "config reload", "config reload"},
    {"dump T version", "dump version", "dump what=version"},
    {"dump T table inode", "dump what=table what=inode", "dump what=table what=inode"},
};

static void means(const struct verb_args *a, const struct both *b, const char *how)
{
    cleanup(buf_free) struct buf out = {0};

    CHECK_OK(verb_args_print(a, &out));
    if (strcmp(buf_cstr(&out), b->printed) != 0)
        test_fail(__FILE__, __LINE__, "%s \"%s\" means \"%s\", not \"%s\"", how, b->words, buf_cstr(&out),
                  b->printed);
}

TEST(test_verb__words_and_lines_mean_the_same)
{
    clock_test_set(1000000000000000000, 0);
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        cleanup(buf_free) struct buf err = {0};
        cleanup(verb_args_free) struct verb_args words = {0}, line = {0};

        if (by_words(both[i].words, &words, &err) < 0 || by_line(NULL, both[i].line, &line, &err) < 0)
            test_fail(__FILE__, __LINE__, "%s | %s: %s", both[i].words, both[i].line, buf_cstr(&err));
        CHECK(words.verb == line.verb);
        means(&words, &both[i], "words");
        means(&line, &both[i], "line");
    }
    clock_test_off();
}

TEST(test_verb__every_verb_of_the_table_is_said_both_ways_above)
{
    size_t count;
    const struct verb *t = verb_table(&count);

    for (size_t v = 0; v < count; v++) {
        bool said = false;

        for (size_t i = 0; i < ARRAY_LEN(both); i++) {
            cleanup(buf_free) struct buf err = {0};
            cleanup(verb_args_free) struct verb_args a = {0};

            said |= by_line(NULL, both[i].line, &a, &err) == 0 && a.verb == &t[v];
        }
        if (!said)
            test_fail(__FILE__, __LINE__, "%s %s", t[v].noun ? t[v].noun : "", t[v].name);
    }
}

/* What it must be given, the first word as a word. */
static void least_words(const struct verb *v, struct buf *line)
{
    bool named = false;

    for (size_t i = 0; i < VERB_ARGS_MAX && v->args[i].name; i++) {
        enum verb_arg_type type = v->args[i].type;
        const char *value = type == ARG_ID                             ? "5"
                            : type == ARG_SIZE                         ? "5G"
                            : type == ARG_WHEN || type == ARG_DURATION ? "7d"
                                                                       : "x";
        bool word = (v->args[i].flags & ARG_WORD) && !named;

        named |= word;
        if ((v->args[i].flags & ARG_REQUIRED) && type == ARG_FLAG)
            CHECK_OK(buf_printf(line, " %s", v->args[i].name));
        else if (v->args[i].flags & ARG_REQUIRED || (word && type != ARG_KEYVALUE))
            CHECK_OK(word ? buf_printf(line, " %s", value)
                          : buf_printf(line, " %s=%s", v->args[i].name, value));
    }
}

TEST(test_verb__a_file_takes_its_own_commands_with_or_without_the_noun)
{
    size_t count;
    const struct verb *t = verb_table(&count);

    for (size_t v = 0; v < count; v++) {
        cleanup(buf_free) struct buf err = {0};
        cleanup(verb_args_free) struct verb_args a = {0};
        cleanup(buf_free) struct buf line = {0};

        if (!t[v].file)
            continue;
        CHECK_OK(buf_puts(&line, t[v].name));
        least_words(&t[v], &line);
        if (by_line(t[v].file, buf_cstr(&line), &a, &err) < 0)
            test_fail(__FILE__, __LINE__, "%s in %s: %s", buf_cstr(&line), t[v].file, buf_cstr(&err));
        CHECK(a.verb == &t[v]);
    }
}

TEST(test_verb__json_and_help_are_for_every_verb)
{
    cleanup(buf_free) struct buf err = {0};
    cleanup(verb_args_free) struct verb_args a = {0}, b = {0}, c = {0};

    CHECK_OK(by_words("snapshot list T --json", &a, &err));
    CHECK(a.json);
    CHECK(strcmp(a.target, "T") == 0);
    CHECK_OK(by_words("rollback --help", &b, &err));
    CHECK(b.help);
    CHECK_OK(by_words("rollback T -- --json", &c, &err));
    CHECK(!c.json);
}

/* words or line, the error, and what the sentence must hold */
static const struct wrong {
    const char *text;
    int r;
    const char *says;
} wrong_words[] = {
    {"", -E_USAGE, "a command is missing"},
    {"craete T", -E_USAGE, "there is no command \"craete\"; did you mean \"create\"?"},
    {"umont T", -E_USAGE, "did you mean \"umount\"?"},
    {"frobnicate", -E_USAGE, "there is no command \"frobnicate\""},
    {"snapshot", -E_USAGE, "snapshot: what to do is missing; one of create, group, delete, rename"},
    {"snapshot mak T", -E_USAGE, "there is no snapshot \"mak\""},
    {"snapshot delte T x", -E_USAGE, "did you mean \"delete\"?"},
    {"snapshot create", -E_USAGE, "snapshot create: TARGET is missing"},
    {"create", -E_USAGE, "create: STORE[/VOLUME] is missing"},
    {"snapshot delete T", -E_USAGE, "snapshot delete: NAME is missing"},
    {"snapshot rename T x", -E_USAGE, "snapshot rename: NEW is missing"},
    {"rollback T", -E_USAGE, "rollback: NAME is missing"},
    {"snapshot create T x y", -E_USAGE, "\"y\" is one word too many"},
    {"list T x", -E_USAGE, "\"x\" is one word too many"},
    {"snapshot create T --lable a=b", -E_USAGE, "there is no option --lable; did you mean --label?"},
    {"snapshot create T -x", -E_USAGE, "there is no option -x"},
    {"create T --size", -E_USAGE, "--size needs a value: SIZE"},
    {"create T --size ten", -E_USAGE, "create: size: \"ten\" is not understood; write a size such as 10G"},
    {"create T --size -5", -E_USAGE, "is not understood"},
    {"create T --size 99999999999T", -E_USAGE, "it is too large"},
    {"create T --size 1G --size 2G", -E_USAGE, "create: size: given twice; give it once"},
    {"create T --size=", -E_USAGE, "is not understood"},
    {"create T --inodes 1GiB", -E_USAGE, "write a number such as 100000"},
    {"snapshot create T x --label novalue", -E_USAGE, "write KEY=VALUE"},
    {"snapshot create T x --label =v", -E_USAGE, "write KEY=VALUE"},
    {"snapshot create T x --expire soon", -E_USAGE, "write 7d, 12h, 2026-12-31"},
    {"snapshot create T x --expire 2026-13-01", -E_USAGE, "write 7d"},
    {"snapshot create T x --hold a^b", -E_USAGE, "tags are 1 to 64 letters"},
    {"snapshot create T x --sync=maybe", -E_USAGE, "write yes or no"},
    {"snapshot create T a/b", -E_NAME, "name \"a/b\" is not allowed: snapshots' names have no /"},
    {"snapshot create T --name=", -E_NAME, "the name is empty; give one"},
    {"snapshot create T .hidden", -E_NAME, "do not begin with '.'"},
    {"snapshot create T @latest", -E_NAME, "'@'"},
    {"snapshot create T x.json", -E_NAME, "do not end in .json"},
    {"snapshot create T ..", -E_NAME, "is not allowed"},
    {"snapshot delete T a/b", -E_NAME, "is not allowed"},
    {"clone T a@b", -E_NAME, "volumes' names have no / @ #"},
    {"clone T a/b", -E_NAME, "is not allowed"},
    {"clone T a#b", -E_NAME, "is not allowed"},
    {"clone T meta", -E_NAME, "none of the store's own names"},
    {"rename T .x", -E_NAME, "is not allowed"},
    {"job wait T zero", -E_USAGE, "write a number from 1"},
    {"job wait 0", -E_USAGE, "write a number from 1"},
    {"job wait", -E_USAGE, "ID is missing"},
    {"job wait T 5 6", -E_USAGE, "\"6\" is one word too many"},
    {"dump T", -E_USAGE, "WHAT is missing"},
};

static const struct wrong wrong_lines[] = {
    {"snapshot", -E_USAGE, "what to do is missing"},
    {"remove x", -E_USAGE, "there is no command of this file, \"remove\""},
    {"delet x", -E_USAGE, "did you mean \"delete\"?"},
    {"rollback x", -E_USAGE, "there is no command of this file"},
    {"job wait 5", -E_USAGE, "there is no command of this file"},
    {"delete", -E_USAGE, "NAME is missing"},
    {"rename x y", -E_USAGE, "\"y\" is one word too many; write key=value, name=, to="},
    {"rename x to=", -E_NAME, "the name is empty"},
    {"create x lable=a=b", -E_USAGE, "there is no option lable; did you mean label?"},
    {"create x name=y", -E_USAGE, "given twice"},
    {"create \"x", -E_USAGE, "a quote is not closed"},
    {"create a/b", -E_NAME, "is not allowed"},
    {"create x expire=yesterday", -E_USAGE, "is not understood"},
    {"create x json=yes", -E_USAGE, "there is no option json"},
    {"hold x tag=", -E_USAGE, "tags are"},
};

TEST(test_verb__wrong_words_are_refused_with_what_to_do)
{
    for (size_t i = 0; i < ARRAY_LEN(wrong_words); i++) {
        cleanup(buf_free) struct buf err = {0};
        struct verb_args a = {0};
        int r = by_words(wrong_words[i].text, &a, &err);

        if (r != wrong_words[i].r || !strstr(buf_cstr(&err), wrong_words[i].says))
            test_fail(__FILE__, __LINE__, "\"%s\": %s: %s", wrong_words[i].text, err_name(r), buf_cstr(&err));
        CHECK(a.verb == NULL);
    }
}

TEST(test_verb__wrong_lines_are_refused_with_what_to_do)
{
    for (size_t i = 0; i < ARRAY_LEN(wrong_lines); i++) {
        cleanup(buf_free) struct buf err = {0};
        struct verb_args a = {0};
        int r = by_line("snapshots", wrong_lines[i].text, &a, &err);

        if (r != wrong_lines[i].r || !strstr(buf_cstr(&err), wrong_lines[i].says))
            test_fail(__FILE__, __LINE__, "\"%s\": %s: %s", wrong_lines[i].text, err_name(r), buf_cstr(&err));
        CHECK(a.verb == NULL);
    }
}

TEST(test_verb__names_of_255_bytes_pass_and_longer_ones_do_not)
{
    static const char *const heads[] = {"snapshot create T ", "snapshot delete T ", "clone T ", "rename T "};

    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        cleanup(buf_free) struct buf text = {0}, err = {0};
        cleanup(verb_args_free) struct verb_args good = {0}, bad = {0};

        CHECK_OK(buf_puts(&text, heads[i]));
        for (int n = 0; n < 255; n++)
            CHECK_OK(buf_puts(&text, "n"));
        CHECK_OK(by_words(buf_cstr(&text), &good, &err));
        CHECK_OK(buf_puts(&text, "n"));
        CHECK_ERR(by_words(buf_cstr(&text), &bad, &err), -E_NAMETOOLONG);
        CHECK(strstr(buf_cstr(&err), "longer than 255 bytes"));
    }
}

TEST(test_verb__empty_lines_and_comments_are_no_commands)
{
    static const char *const lines[] = {"", "  ", "\t", "# create x", "   # x", "\r"};

    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        cleanup(buf_free) struct buf err = {0};
        struct verb_args a = {0};

        CHECK_OK(by_line("snapshots", lines[i], &a, &err));
        CHECK(a.verb == NULL);
    }
}

TEST(test_verb__a_comment_may_follow_a_command)
{
    cleanup(buf_free) struct buf err = {0};
    cleanup(verb_args_free) struct verb_args a = {0}, b = {0};

    CHECK_OK(by_line("snapshots", "create x # because", &a, &err));
    CHECK(strcmp(verb_text(&a, "name"), "x") == 0);
    CHECK_OK(by_line("snapshots", "create x#y", &b, &err));
    CHECK(strcmp(verb_text(&b, "name"), "x#y") == 0);
}

TEST(test_verb__lines_of_random_bytes_are_survived)
{
    static const char alphabet[] = "create delet name=label=\"\\ #\t\r\n/.@xsync=yes\0\xff";
    uint64_t state = test_seed();

    for (int i = 0; i < 20000; i++) {
        cleanup(buf_free) struct buf err = {0};
        cleanup(verb_args_free) struct verb_args a = {0};
        char line[48];
        size_t len = test_rand(&state) % sizeof(line);

        memcpy(line, "create ", 7);
        for (size_t n = test_rand(&state) % 8; n < len; n++)
            line[n] = alphabet[test_rand(&state) % (sizeof(alphabet) - 1)];
        if (verb_parse_line("snapshots", line, len, &a, &err) < 0)
            CHECK(err.len > 0);
    }
}

TEST(test_verb__help_shows_every_option)
{
    size_t count;
    const struct verb *t = verb_table(&count);

    for (size_t v = 0; v < count; v++) {
        cleanup(buf_free) struct buf text = {0};

        CHECK_OK(verb_help(&t[v], &text));
        CHECK(strstr(buf_cstr(&text), t[v].help));
        CHECK(strstr(buf_cstr(&text), "usage: varve "));
        for (size_t i = 0; i < VERB_ARGS_MAX && t[v].args[i].name; i++)
            CHECK(strstr(buf_cstr(&text), t[v].args[i].help));
    }
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
