/* Signatures against what AWS has published: the test suite of Signature Version 4, and the examples of the S3 manual. */
#include "base/clock.h"
#include "tests/lib/test.h"
#include "tier/crypt.h"
#include "tier/s3_sign.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define EXAMPLE_DATE "20150830T123600Z"
#define STS_TOKEN                                                                                            \
    "AQoDYXdzEPT//////////"                                                                                  \
    "wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTfl"                     \
    "fKD8YUuwthAx7mSEI/qkPpKPi/"                                                                             \
    "kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvl"                          \
    "Rd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4r" \
    "vx3iSIlTJabIQwj2ICCR/oLxBA=="

static const struct s3_cred suite_cred = {.id = "AKIDEXAMPLE",
                                          .secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"};
static const struct s3_cred manual_cred = {.id = "AKIAIOSFODNN7EXAMPLE",
                                           .secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};

struct vector {
    const char *name, *method, *path;
    struct s3_pair query[4], headers[6];
    const char *payload, *signature;
};

/* aws-sig-v4-test-suite */
static const struct vector suite[] = {
    {"get-vanilla",
     "GET",
     "/",
     {{0}},
     {{"host", "example.amazonaws.com"}, {"x-amz-date", EXAMPLE_DATE}},
     EMPTY,
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"get-vanilla-query-order-key-case",
     "GET",
     "/",
     {{"Param2", "value2"}, {"Param1", "value1"}},
     {{"x-amz-date", EXAMPLE_DATE}, {"host", "example.amazonaws.com"}},
     EMPTY,
     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
    {"get-vanilla-query-order-value",
     "GET",
     "/",
     {{"Param1", "value2"}, {"Param1", "value1"}},
     {{"host", "example.amazonaws.com"}, {"x-amz-date", EXAMPLE_DATE}},
     EMPTY,
     "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694"},
    {"get-vanilla-utf8-query",
     "GET",
     "/",
     {{"\xe1\x88\xb4", "bar"}},
     {{"host", "example.amazonaws.com"}, {"x-amz-date", EXAMPLE_DATE}},
     EMPTY,
     "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
    {"get-unreserved",
     "GET",
     "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
     {{0}},
     {{"host", "example.amazonaws.com"}, {"x-amz-date", EXAMPLE_DATE}},
     EMPTY,
     "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
    {"get-utf8",
     "GET",
     "/\xe1\x88\xb4",
     {{0}},
     {{"host", "example.amazonaws.com"}, {"x-amz-date", EXAMPLE_DATE}},
     EMPTY,
     "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
    {"get-space",
     "GET",
     "/example space/",
     {{0}},
     {{"host", "example.amazonaws.com"}, {"x-amz-date", EXAMPLE_DATE}},
     EMPTY,
     "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
    {"get-header-value-trim",
     "GET",
     "/",
     {{0}},
     {{"host", "example.amazonaws.com"},
      {"my-header1", " value1"},
      {"my-header2", " \"a   b   c\""},
      {"x-amz-date", EXAMPLE_DATE}},
     EMPTY,
     "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
    {"post-vanilla",
     "POST",
     "/",
     {{0}},
     {{"host", "example.amazonaws.com"}, {"x-amz-date", EXAMPLE_DATE}},
     EMPTY,
     "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
    {"post-vanilla-query",
     "POST",
     "/",
     {{"Param1", "value1"}},
     {{"host", "example.amazonaws.com"}, {"x-amz-date", EXAMPLE_DATE}},
     EMPTY,
     "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
    {"post-sts-header-before",
     "POST",
     "/",
     {{0}},
     {{"host", "example.amazonaws.com"}, {"x-amz-date", EXAMPLE_DATE}, {"x-amz-security-token", STS_TOKEN}},
     EMPTY,
     "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
};

/* "Authenticating Requests: Using the Authorization Header", the examples with a single chunk */
static const struct vector manual[] = {
    {"GET object",
     "GET",
     "/test.txt",
     {{0}},
     {{"host", "examplebucket.s3.amazonaws.com"},
      {"range", "bytes=0-9"},
      {"x-amz-content-sha256", EMPTY},
      {"x-amz-date", "20130524T000000Z"}},
     EMPTY,
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {"PUT object",
     "PUT",
     "/test$file.text",
     {{0}},
     {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
      {"host", "examplebucket.s3.amazonaws.com"},
      {"x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
      {"x-amz-date", "20130524T000000Z"},
      {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
     "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {"GET bucket lifecycle",
     "GET",
     "/",
     {{"lifecycle", ""}},
     {{"host", "examplebucket.s3.amazonaws.com"},
      {"x-amz-content-sha256", EMPTY},
      {"x-amz-date", "20130524T000000Z"}},
     EMPTY,
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {"GET bucket",
     "GET",
     "/",
     {{"max-keys", "2"}, {"prefix", "J"}},
     {{"host", "examplebucket.s3.amazonaws.com"},
      {"x-amz-content-sha256", EMPTY},
      {"x-amz-date", "20130524T000000Z"}},
     EMPTY,
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

static size_t count(const struct s3_pair *p, size_t max)
{
    size_t n = 0;

    while (n < max && p[n].name)
        n++;
    return n;
}

static void holds(const struct vector *v, const char *when, const char *service, const struct s3_cred *cred)
{
    cleanup(buf_free) struct buf got = {0}, canonical = {0};
    struct s3_signing s = {.method = v->method,
                           .path = v->path,
                           .query = v->query,
                           .headers = v->headers,
                           .nquery = count(v->query, ARRAY_LEN(v->query)),
                           .nheaders = count(v->headers, ARRAY_LEN(v->headers)),
                           .payload = v->payload,
                           .region = "us-east-1",
                           .service = service,
                           .cred = cred};
    const char *sig;

    CHECK_OK(clock_parse(when, &s.when_ns));
    CHECK_OK(s3_canonical(&s, &canonical));
    CHECK_OK(s3_authorization(&s, &got));
    sig = strstr(buf_cstr(&got), "Signature=");
    CHECK(sig != NULL);
    if (strcmp(sig + 10, v->signature) != 0)
        test_fail(__FILE__, __LINE__, "%s: %s\n%s", v->name, sig, buf_cstr(&canonical));
}

TEST(test_s3_sign__the_published_suite)
{
    for (size_t i = 0; i < ARRAY_LEN(suite); i++)
        holds(&suite[i], "2015-08-30T12:36:00Z", "service", &suite_cred);
}

TEST(test_s3_sign__the_examples_of_the_manual)
{
    for (size_t i = 0; i < ARRAY_LEN(manual); i++)
        holds(&manual[i], "2013-05-24T00:00:00Z", "s3", &manual_cred);
}

/* The whole header, as the manual prints it. */
TEST(test_s3_sign__the_header)
{
    static const struct s3_pair h[] = {{"x-amz-date", "20130524T000000Z"},
                                       {"range", "bytes=0-9"},
                                       {"host", "examplebucket.s3.amazonaws.com"},
                                       {"x-amz-content-sha256", EMPTY}};
    struct s3_signing s = {.method = "GET",
                           .path = "/test.txt",
                           .headers = h,
                           .nheaders = ARRAY_LEN(h),
                           .payload = EMPTY,
                           .region = "us-east-1",
                           .service = "s3",
                           .cred = &manual_cred};
    cleanup(buf_free) struct buf got = {0};

    CHECK_OK(clock_parse("2013-05-24T00:00:00Z", &s.when_ns));
    CHECK_OK(s3_authorization(&s, &got));
    CHECK(strcmp(buf_cstr(&got),
                 "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
                 "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
                 "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41") == 0);
}

TEST(test_s3_sign__what_is_encoded)
{
    cleanup(buf_free) struct buf b = {0};

    CHECK_OK(s3_encode("a/b c+d~e%\xc3\xbc", true, &b));
    CHECK(strcmp(buf_cstr(&b), "a/b%20c%2Bd~e%25%C3%BC") == 0);
    buf_reset(&b);
    CHECK_OK(s3_encode("a/b=&", false, &b));
    CHECK(strcmp(buf_cstr(&b), "a%2Fb%3D%26") == 0);
}
