/* What is asked for with -o, and what mount(2) gets of it. */
#include "fs/mount.h"

#include <unistd.h>

#include "tests/lib/test.h"

#define LABEL "system_u:object_r:container_file_t:s0:c1,c2"

static int parse(struct mount_opts *o, const char *list)
{
    char why[256] = "";
    int r;

    *o = (struct mount_opts){0};
    r = mount_opts_parse(o, list, why);
    CHECK((r == 0) == (why[0] == 0));
    return r;
}

/* As the kubelet writes it: between quotes, with commas. */
TEST(test_mount__a_label_goes_to_the_kernel_as_it_is)
{
    cleanup(buf_free) struct buf b = {0};
    struct mount_opts o, again;
    char data[MOUNT_DATA_SIZE];

    CHECK_OK(parse(&o, "control=none,context=\"" LABEL "\",noexec"));
    CHECK(strcmp(o.context, LABEL) == 0 && o.control == CONTROL_NONE && o.flags != 0);
    mount_data(data, 7, &o);
    CHECK(strncmp(data, "fd=7,rootmode=40000,", 20) == 0);
    CHECK(strstr(data, ",context=\"" LABEL "\""));
    CHECK_OK(mount_opts_print(&b, &o));
    CHECK_OK(parse(&again, buf_cstr(&b)));
    CHECK(strcmp(again.context, LABEL) == 0 && !mount_opts_differ(&o, &again));
    CHECK_OK(parse(&again, "control=none"));
    CHECK(strcmp(mount_opts_differ(&o, &again), "context") == 0);
    mount_data(data, 7, &again);
    CHECK(!strstr(data, "context"));
    CHECK_OK(parse(&o, "context=system_u:object_r:container_file_t:s0"));
    CHECK(strcmp(o.context, "system_u:object_r:container_file_t:s0") == 0);
}

TEST(test_mount__what_is_no_label_is_refused)
{
    struct mount_opts o;
    char longer[400] = "context=";

    CHECK_ERR(parse(&o, "context="), -E_USAGE);
    CHECK_ERR(parse(&o, "context=\"\""), -E_USAGE);
    CHECK_ERR(parse(&o, "context=\"a,b"), -E_USAGE);
    CHECK_ERR(parse(&o, "context=\"a\",user_id=0\""), -E_USAGE);
    CHECK_ERR(parse(&o, "context=\"a\"b"), -E_USAGE);
    memset(longer + 8, 'x', 230);
    CHECK_ERR(parse(&o, longer), -E_USAGE);
    CHECK_ERR(parse(&o, "fscontext=a"), -E_USAGE);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
