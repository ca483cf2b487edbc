#include "support.h"

#include "fetch/download.h"
#include "fetch/sha256.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>

/* ---- a server that answers as it is told ---------------------------------------------------- */

typedef struct answer {
    const char *wanted; /* that the request must contain; NULL: anything */
    const char *head;   /* status line and headers, each with "\r\n"; "": the connection is closed */
    const char *body;
    size_t size;        /* of what is sent of the body */
    bool stalls;        /* keeps the connection open and sends nothing more */
} answer;

typedef struct server {
    int listener;
    unsigned port;
    const answer *answers;
    size_t count, served;
    pthread_t thread;
    char unexpected[512]; /* the first request that was not what was wanted */
} server;

static void read_request(int client, char *request, size_t size)
{
    size_t used = 0;
    ssize_t got;
    while (used + 1 < size && !strstr(request, "\r\n\r\n") &&
           (got = recv(client, request + used, size - used - 1, 0)) > 0) {
        used += (size_t)got;
        request[used] = 0;
    }
}

static void *serve(void *argument)
{
    static const char end[] = "Connection: close\r\n\r\n";
    server *const s = argument;
    int stalled = -1;
    for (size_t i = 0; i < s->count; i++) {
        const int client = accept(s->listener, NULL, NULL);
        if (client < 0) break;
        char request[2048] = "";
        read_request(client, request, sizeof request);
        const answer *const a = &s->answers[i];
        if (a->wanted && !strstr(request, a->wanted) && !s->unexpected[0])
            snprintf(s->unexpected, sizeof s->unexpected, "%.500s", request);
        s->served++;
        send(client, a->head, strlen(a->head), MSG_NOSIGNAL);
        if (a->head[0]) send(client, end, strlen(end), MSG_NOSIGNAL);
        send(client, a->body, a->size, MSG_NOSIGNAL);
        if (stalled >= 0) close(stalled);
        stalled = a->stalls ? client : -1;
        if (!a->stalls) close(client);
    }
    char wait[1];
    if (stalled >= 0) {
        while (recv(stalled, wait, 1, 0) > 0) continue; /* until the other side gives up */
        close(stalled);
    }
    return NULL;
}

static void start(server *s, const answer *answers, size_t count)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    *s = (server){.listener = socket(AF_INET, SOCK_STREAM, 0), .answers = answers, .count = count};
    assert_true(s->listener >= 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(s->listener, 8), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&address, &size), 0);
    s->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

/* All answers must have been asked for. */
static void stop(server *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
    assert_string_equal(s->unexpected, "");
    assert_int_equal(s->served, s->count);
}

/* ---- bench --------------------------------------------------------------------------------- */

#define DIGITS_10 "0123456789"
#define BODY DIGITS_10 DIGITS_10 DIGITS_10
#define BODY_SHA256 "276fadfc9edc49f5f9af96d97636731def7525d4bfa16bc07699534873a474cc"

typedef struct bench {
    px_downloader *downloader;
    char directory[TEST_PATH], path[TEST_PATH], url[TEST_PATH];
} bench;

static int setup(void **state)
{
    bench *const b = calloc(1, sizeof *b);
    *state = b;
    if (px_downloader_open(&b->downloader, NULL) != PHLOX_OK) return 0; /* every test skips */
    setenv("no_proxy", "127.0.0.1", 1);
    test_directory(b->directory);
    test_path(b->path, "%s/file", b->directory);
    return 0;
}

static int teardown(void **state)
{
    bench *const b = *state;
    if (b->downloader) test_remove(b->directory);
    px_downloader_close(b->downloader);
    free(b);
    return 0;
}

static bench *begin(void **state)
{
    bench *const b = *state;
    if (!b->downloader) skip();
    return b;
}

static px_transfer local(bench *b, const server *s)
{
    test_path(b->url, "http://127.0.0.1:%u/file", s->port);
    return (px_transfer){.url = b->url, .schemes = PX_SCHEME_HTTP, .most = 1000, .what = "downloading"};
}

/* Downloads to b->path and gives it its name if that went well. */
static phlox_status download(bench *b, const px_transfer *t, phlox_error *error)
{
    px_out_file file = {.descriptor = -1};
    uint64_t size = 0;
    PX_TRY(px_out_open(&file, b->path, 0, error));
    const phlox_status status = px_download_file(b->downloader, t, &file, &size, error);
    if (status != PHLOX_OK) {
        px_out_abandon(&file);
        assert_int_equal(test_for_each(b->directory, NULL, NULL), 0);
        return status;
    }
    return px_out_commit(&file, error);
}

static void expect_body(const bench *b)
{
    size_t size;
    char *const text = test_read(b->path, &size);
    assert_string_equal(text, BODY);
    free(text);
}

#define OK_30 "HTTP/1.1 200 OK\r\nContent-Length: 30\r\nAccept-Ranges: bytes\r\n"
#define REST(first, length)                                                                      \
    "HTTP/1.1 206 Partial Content\r\nContent-Length: " length "\r\nContent-Range: bytes " first "-29/30\r\n"

/* ---- tests --------------------------------------------------------------------------------- */

static void files_are_fetched_and_checked(void **state)
{
    bench *const b = begin(state);
    phlox_error error;
    char source[TEST_PATH];
    test_write_text(b->directory, "source", BODY);
    test_path(b->url, "file://%s", test_path(source, "%s/source", b->directory));
    px_transfer t = {.url = b->url, .schemes = PX_SCHEME_FILE, .most = 30, .sha256 = BODY_SHA256, .size = 30};
    px_out_file file = {.descriptor = -1};
    uint64_t size = 0;
    MUST(px_out_open(&file, b->path, 0, &error));
    MUST(px_download_file(b->downloader, &t, &file, &size, &error));
    MUST(px_out_commit(&file, &error));
    assert_int_equal(size, 30);
    expect_body(b);
    assert_int_equal(unlink(b->path), 0);

    px_buffer page;
    char *final = NULL;
    MUST(px_download_page(b->downloader, &t, &page, &final, &error));
    assert_string_equal(page.data, BODY);
    assert_string_equal(final, b->url);
    px_buffer_free(&page);
    free(final);

    const px_transfer good = t;
    t.most = 29;
    MUST_FAIL(px_download_page(b->downloader, &t, &page, NULL, &error), PHLOX_ERROR_FORMAT, "more than 29 bytes");
    t = good, t.size = 31;
    MUST_FAIL(px_download_page(b->downloader, &t, &page, NULL, &error), PHLOX_ERROR_FORMAT, "30 bytes came and not the 31");
    t = good, t.sha256 = "0";
    MUST_FAIL(px_download_page(b->downloader, &t, &page, NULL, &error), PHLOX_ERROR_FORMAT, "its SHA-256 is " BODY_SHA256);
    t = good, t.schemes = PX_SCHEME_HTTPS | PX_SCHEME_HTTP;
    MUST_FAIL(px_download_page(b->downloader, &t, &page, NULL, &error), PHLOX_ERROR_UNSUPPORTED, "is not fetched: only https is");
    t = good, t.url = "file:///nowhere/at/all";
    MUST_FAIL(px_download_page(b->downloader, &t, &page, NULL, &error), PHLOX_ERROR_NOT_FOUND, "file:///nowhere/at/all: cannot be read");
}

static void broken_transfers_go_on_where_they_broke(void **state)
{
    bench *const b = begin(state);
    phlox_error error;
    server s;
    static const answer answers[] = {
        {"GET /file", OK_30, BODY, 13, false},
        {"Range: bytes=13-", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n", "", 0, false},
        {"Range: bytes=13-", REST("13", "17"), "3456789", 7, false},
        {"Range: bytes=20-", REST("20", "10"), DIGITS_10, 10, false},
    };
    start(&s, answers, PX_COUNT(answers));
    px_transfer t = local(b, &s);
    t.sha256 = BODY_SHA256;
    MUST(download(b, &t, &error));
    stop(&s);
    expect_body(b);
}

static void servers_without_ranges_begin_again(void **state)
{
    bench *const b = begin(state);
    phlox_error error;
    server s;
    static const answer answers[] = {
        {"GET /file", OK_30, BODY, 13, false},
        {"Range: bytes=13-", OK_30, BODY, 30, false},
        {"GET /file", OK_30, BODY, 30, false},
    };
    start(&s, answers, PX_COUNT(answers));
    px_transfer t = local(b, &s);
    t.sha256 = BODY_SHA256;
    MUST(download(b, &t, &error));
    stop(&s);
    expect_body(b);
}

static void what_stays_broken_is_an_error(void **state)
{
    bench *const b = begin(state);
    phlox_error error;
    server s;
    static const answer nothing[] = {{NULL, "", "", 0, false}, {NULL, "", "", 0, false}, {NULL, "", "", 0, false}};
    start(&s, nothing, PX_COUNT(nothing));
    px_transfer t = local(b, &s);
    MUST_FAIL(download(b, &t, &error), PHLOX_ERROR_IO, "no connection: Empty reply");
    stop(&s);
    static const answer stalls[] = {{NULL, OK_30, BODY, 5, true}, {"bytes=5-", REST("5", "25"), "", 0, true}};
    start(&s, stalls, PX_COUNT(stalls));
    t = local(b, &s);
    t.stall = 1;
    MUST_FAIL(download(b, &t, &error), PHLOX_ERROR_IO, "the transfer failed");
    stop(&s);
    static const answer absent[] = {{NULL, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n", "no", 2, false}};
    start(&s, absent, 1);
    t = local(b, &s);
    MUST_FAIL(download(b, &t, &error), PHLOX_ERROR_NOT_FOUND, "/file: is not there (HTTP status 404)");
    stop(&s);
    static const answer secret[] = {{NULL, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n", "", 0, false}};
    start(&s, secret, 1);
    t = local(b, &s);
    MUST_FAIL(download(b, &t, &error), PHLOX_ERROR_IO, "the server refuses it (HTTP status 403)");
    stop(&s);
    t = local(b, &s); /* nobody listens there any more */
    MUST_FAIL(download(b, &t, &error), PHLOX_ERROR_IO, "no connection");
}

static const char advice[] = "; check the network, and the proxy in https_proxy if it needs one";

/* The download fails without a connection, for this reason, with the advice. */
static void is_unreachable(bench *b, const px_transfer *t, const char *reason)
{
    phlox_error error;
    char wanted[TEST_PATH];
    test_path(wanted, "no connection: %s", reason);
    MUST_FAIL(download(b, t, &error), PHLOX_ERROR_IO, wanted);
    if (!strstr(error.message, advice)) fail_msg("no advice: %s", error.message);
}

/* Of a listener whose queue is full the system drops what asks for a connection. */
static void an_index_that_is_not_reached(void **state)
{
    enum { MOST = 16 };
    bench *const b = begin(state);
    server s;
    int clients[MOST];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    s = (server){.listener = socket(AF_INET, SOCK_STREAM, 0)};
    assert_int_equal(bind(s.listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(s.listener, 0), 0);
    assert_int_equal(getsockname(s.listener, (struct sockaddr *)&address, &size), 0);
    s.port = ntohs(address.sin_port);
    for (int i = 0; i < MOST; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        assert_true(connect(clients[i], (struct sockaddr *)&address, size) == 0 || errno == EINPROGRESS);
    }
    px_transfer t = local(b, &s);
    t.stall = 1;
    is_unreachable(b, &t, "");
    for (int i = 0; i < MOST; i++) close(clients[i]);
    close(s.listener);

    static const answer silent[] = {{NULL, "", "", 0, true}};
    start(&s, silent, 1);
    t = local(b, &s);
    t.stall = 1;
    is_unreachable(b, &t, "Operation too slow");
    stop(&s);

    static const answer refusal[] = {
        {"CONNECT index.invalid:443", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n", "", 0, false}};
    char proxy[64];
    start(&s, refusal, 1);
    t = (px_transfer){.url = "https://index.invalid/simple/", .schemes = PX_SCHEME_HTTPS, .most = 1000};
    snprintf(proxy, sizeof proxy, "http://127.0.0.1:%u", s.port);
    setenv("https_proxy", proxy, 1);
    is_unreachable(b, &t, "the proxy refuses it (HTTP status 403)");
    unsetenv("https_proxy");
    stop(&s);
}

static void redirections_are_followed_but_not_to_files(void **state)
{
    bench *const b = begin(state);
    phlox_error error;
    server s;
    static const answer answers[] = {
        {"Accept: text/html", "HTTP/1.1 302 Found\r\nLocation: /other/\r\nContent-Length: 0\r\n", "", 0, false},
        {"GET /other/", OK_30, BODY, 30, false},
    };
    start(&s, answers, PX_COUNT(answers));
    px_transfer t = local(b, &s);
    t.accept = "text/html";
    px_buffer page;
    char *final, wanted[TEST_PATH], *resolved;
    MUST(px_download_page(b->downloader, &t, &page, &final, &error));
    stop(&s);
    assert_string_equal(page.data, BODY);
    assert_string_equal(final, test_path(wanted, "http://127.0.0.1:%u/other/", s.port));
    MUST(px_url_resolve(b->downloader, final, "../x/a%2Bb.whl?q", &resolved, &error));
    assert_string_equal(resolved, test_path(wanted, "http://127.0.0.1:%u/x/a%%2Bb.whl?q", s.port));
    free(resolved);
    px_buffer_free(&page);
    free(final);
    static const answer evil[] = {
        {NULL, "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n", "", 0, false}};
    start(&s, evil, 1);
    t = local(b, &s);
    t.schemes |= PX_SCHEME_FILE;
    MUST_FAIL(px_download_page(b->downloader, &t, &page, NULL, &error), PHLOX_ERROR_IO, "the transfer failed");
    stop(&s);
}

static bool cancel_later(void *user, const phlox_progress *progress)
{
    assert_string_equal(progress->what, "downloading");
    *(uint64_t *)user = progress->done;
    return progress->done < 5;
}

static void downloads_are_cancelled(void **state)
{
    bench *const b = begin(state);
    phlox_error error;
    server s;
    static const answer answers[] = {{NULL, OK_30, BODY, 5, true}};
    start(&s, answers, 1);
    px_transfer t = local(b, &s);
    uint64_t done = 0;
    t.progress = cancel_later;
    t.progress_user = &done;
    MUST_FAIL(download(b, &t, &error), PHLOX_ERROR_CANCELLED, "cancelled");
    stop(&s);
    assert_int_equal(done, 5);
}

static void addresses(void **state)
{
    (void)state;
    assert_int_equal(px_url_scheme("HTTPS://x"), PX_SCHEME_HTTPS);
    assert_int_equal(px_url_scheme("http://x"), PX_SCHEME_HTTP);
    assert_int_equal(px_url_scheme("file:///x"), PX_SCHEME_FILE);
    assert_int_equal(px_url_scheme("ftp://x"), 0);
    assert_int_equal(px_url_scheme("/x"), 0);
    static const char *const table[][2] = {
        {"https://user:secret@host/a@b", "https://***@host/a@b"}, {"https://host/a@b", "https://host/a@b"},
        {"https://a@b@host", "https://***@host"}, {"plain", "plain"}, {"https://host?x@y", "https://host?x@y"},
    };
    for (size_t i = 0; i < PX_COUNT(table); i++) {
        char *const text = px_url_without_secrets(table[i][0]);
        assert_string_equal(text, table[i][1]);
        free(text);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(files_are_fetched_and_checked), TEST(broken_transfers_go_on_where_they_broke),
        TEST(servers_without_ranges_begin_again), TEST(what_stays_broken_is_an_error),
        TEST(an_index_that_is_not_reached), TEST(redirections_are_followed_but_not_to_files), TEST(downloads_are_cancelled),
        cmocka_unit_test(addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
