#include "base/err.h"

#include <errno.h>

#include "tests/lib/test.h"

TEST(test_err__every_code_has_name_errno_and_sentence)
{
    for (int c = E__FIRST + 1; c < E__END; c++) {
        CHECK(strcmp(err_name(-c), "UNKNOWN") != 0);
        CHECK(strlen(err_text(-c)) > 5);
        CHECK(err_text(-c)[strlen(err_text(-c)) - 1] != '.');
        CHECK(err_errno(-c) > 0);
        CHECK(err_errno(-c) < 134);
    }
}

TEST(test_err__names_are_those_of_the_table)
{
    CHECK(strcmp(err_name(-E_NOMEM), "NOMEM") == 0);
    CHECK(strcmp(err_name(-E_NOSPC), "NOSPC") == 0);
    CHECK(strcmp(err_name(-E_CRASH), "CRASH") == 0);
    CHECK(strcmp(err_text(-E_HELD), "snapshot is held") == 0);
    CHECK_EQ(err_errno(-E_QUOTA), ENOSPC);
    CHECK_EQ(err_errno(-E_STALE), ESTALE);
}

TEST(test_err__strange_numbers_are_unknown)
{
    static const int strange[] = {-1, -EIO, -E__FIRST, -E__END, -E__END - 1, INT32_MIN};

    for (size_t i = 0; i < ARRAY_LEN(strange); i++) {
        CHECK(strcmp(err_name(strange[i]), "UNKNOWN") == 0);
        CHECK_EQ(err_errno(strange[i]), EIO);
    }
    CHECK(strcmp(err_name(0), "OK") == 0);
    CHECK(strcmp(err_name(7), "OK") == 0);
    CHECK_EQ(err_errno(0), 0);
}

TEST(test_err__errno_comes_back_as_the_same_errno)
{
    for (int e = 1; e < 134; e++) {
        int r = err_from_errno(e);

        CHECK(r < 0);
        CHECK(strcmp(err_name(r), "UNKNOWN") != 0);
        CHECK(err_errno(r) == e || r == -E_IO || e == EDQUOT || e == ETXTBSY || e == EMFILE);
    }
    CHECK_ERR(err_from_errno(ENOSPC), -E_NOSPC);
    CHECK_ERR(err_from_errno(EDQUOT), -E_NOSPC);
    CHECK_ERR(err_from_errno(EMFILE), -E_FILES);
    CHECK_ERR(err_from_errno(EBUSY), -E_BUSY);
    CHECK_ERR(err_from_errno(EINVAL), -E_INVAL);
    CHECK_ERR(err_from_errno(EHOSTDOWN), -E_IO);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
