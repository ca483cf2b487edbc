#include "fetch/download.h"

#include "fetch/sha256.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the part of libcurl's interface that is used ------------------------------------------ */

/* Its numbers are part of the stable ABI of libcurl.so.4. */
enum {
    CURL_GLOBAL_ALL = 3,

    CURLOPT_LOW_SPEED_LIMIT = 19,
    CURLOPT_LOW_SPEED_TIME = 20,
    CURLOPT_NOPROGRESS = 43,
    CURLOPT_FAILONERROR = 45,
    CURLOPT_FOLLOWLOCATION = 52,
    CURLOPT_MAXREDIRS = 68,
    CURLOPT_CONNECTTIMEOUT = 78,
    CURLOPT_NOSIGNAL = 99,
    CURLOPT_PROTOCOLS = 181,
    CURLOPT_REDIR_PROTOCOLS = 182,
    CURLOPT_WRITEDATA = 10001,
    CURLOPT_URL = 10002,
    CURLOPT_ERRORBUFFER = 10010,
    CURLOPT_USERAGENT = 10018,
    CURLOPT_HTTPHEADER = 10023,
    CURLOPT_XFERINFODATA = 10057,
    CURLOPT_CAINFO = 10065,
    CURLOPT_ACCEPT_ENCODING = 10102,
    CURLOPT_PROTOCOLS_STR = 10318,
    CURLOPT_REDIR_PROTOCOLS_STR = 10319,
    CURLOPT_WRITEFUNCTION = 20011,
    CURLOPT_XFERINFOFUNCTION = 20219,
    CURLOPT_RESUME_FROM_LARGE = 30116,

    CURLINFO_EFFECTIVE_URL = 0x100001,
    CURLINFO_RESPONSE_CODE = 0x200002,
    CURLINFO_HTTP_CONNECTCODE = 0x200016,

    CURLPROTO_HTTP = 1,
    CURLPROTO_HTTPS = 2,
    CURLPROTO_FILE = 1 << 10,

    CURLUPART_URL = 0,

    CURLE_OK = 0,
    CURLE_COULDNT_RESOLVE_PROXY = 5,
    CURLE_COULDNT_RESOLVE_HOST = 6,
    CURLE_COULDNT_CONNECT = 7,
    CURLE_HTTP2 = 16,
    CURLE_PARTIAL_FILE = 18,
    CURLE_HTTP_RETURNED_ERROR = 22,
    CURLE_OPERATION_TIMEDOUT = 28,
    CURLE_RANGE_ERROR = 33,
    CURLE_SSL_CONNECT_ERROR = 35,
    CURLE_FILE_COULDNT_READ_FILE = 37,
    CURLE_GOT_NOTHING = 52,
    CURLE_SEND_ERROR = 55,
    CURLE_RECV_ERROR = 56,
    CURLE_PEER_FAILED_VERIFICATION = 60,
    CURLE_SSL_CACERT_BADFILE = 77,
    CURLE_HTTP2_STREAM = 92,
    CURLE_HTTP3 = 95,

    ERROR_SIZE = 256 /* CURL_ERROR_SIZE */
};

typedef struct curl_slist curl_slist;

struct px_downloader {
    px_library *library;
    int (*global_init)(long flags);
    void (*global_cleanup)(void);
    void *(*easy_init)(void);
    int (*easy_setopt)(void *easy, int option, ...);
    int (*easy_perform)(void *easy);
    int (*easy_getinfo)(void *easy, int info, ...);
    void (*easy_cleanup)(void *easy);
    const char *(*easy_strerror)(int code);
    curl_slist *(*slist_append)(curl_slist *list, const char *text);
    void (*slist_free_all)(curl_slist *list);
    void *(*url)(void);
    int (*url_set)(void *url, int part, const char *text, unsigned flags);
    int (*url_get)(const void *url, int part, char **text, unsigned flags);
    void (*url_cleanup)(void *url);
    void (*free_text)(void *text);
};

static bool load(px_downloader *d)
{
    const struct {
        const char *name;
        void *function;
    } table[] = {
        {"curl_global_init", &d->global_init},
        {"curl_global_cleanup", &d->global_cleanup},
        {"curl_easy_init", &d->easy_init},
        {"curl_easy_setopt", &d->easy_setopt},
        {"curl_easy_perform", &d->easy_perform},
        {"curl_easy_getinfo", &d->easy_getinfo},
        {"curl_easy_cleanup", &d->easy_cleanup},
        {"curl_easy_strerror", &d->easy_strerror},
        {"curl_slist_append", &d->slist_append},
        {"curl_slist_free_all", &d->slist_free_all},
        {"curl_url", &d->url},
        {"curl_url_set", &d->url_set},
        {"curl_url_get", &d->url_get},
        {"curl_url_cleanup", &d->url_cleanup},
        {"curl_free", &d->free_text},
    };
    for (size_t i = 0; i < PX_COUNT(table); i++)
        if (!px_library_function(d->library, table[i].name, table[i].function)) return false;
    return true;
}

phlox_status px_downloader_open(px_downloader **out, phlox_error *error)
{
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
    px_downloader *const d = calloc(1, sizeof *d);
    phlox_error why[PX_COUNT(names)];
    if (!d) return px_fail_memory(error, sizeof *d);
    for (size_t i = 0; i < PX_COUNT(names) && !d->library; i++)
        if (px_library_open(names[i], &d->library, &why[i]) != PHLOX_OK) d->library = NULL;
    if (d->library && load(d) && d->global_init(CURL_GLOBAL_ALL) == CURLE_OK) {
        *out = d;
        return PHLOX_OK;
    }
    const phlox_status status =
        d->library ? px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                             "downloads need libcurl 7.62 or newer, and that of the system is older")
                   : px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                             "downloads need libcurl, which cannot be opened (%.300s); on Debian: apt "
                             "install libcurl4", why[0].message);
    px_library_close(d->library);
    free(d);
    return status;
}

void px_downloader_close(px_downloader *downloader)
{
    if (!downloader) return;
    downloader->global_cleanup();
    px_library_close(downloader->library);
    free(downloader);
}

/* ---- addresses ----------------------------------------------------------------------------- */

static bool begins(const char *text, const char *prefix)
{
    for (; *prefix; text++, prefix++)
        if ((*text >= 'A' && *text <= 'Z' ? *text + 'a' - 'A' : *text) != *prefix) return false;
    return true;
}

unsigned px_url_scheme(const char *url)
{
    if (begins(url, "https://")) return PX_SCHEME_HTTPS;
    if (begins(url, "http://")) return PX_SCHEME_HTTP;
    return begins(url, "file://") ? PX_SCHEME_FILE : 0;
}

char *px_url_without_secrets(const char *url)
{
    const char *const slashes = strstr(url, "://");
    const char *const host = slashes ? slashes + 3 : url;
    const size_t authority = strcspn(host, "/?#");
    const char *at = NULL;
    for (size_t i = 0; i < authority; i++)
        if (host[i] == '@') at = host + i;
    const size_t size = strlen(url) + 4;
    char *const text = malloc(size);
    if (text && slashes && at) snprintf(text, size, "%.*s***%s", (int)(host - url), url, at);
    else if (text) snprintf(text, size, "%s", url);
    return text;
}

phlox_status px_url_resolve(px_downloader *downloader, const char *base, const char *reference,
                            char **out, phlox_error *error)
{
    char *text = NULL, *copy = NULL;
    void *const url = downloader->url();
    const bool is_read = url && downloader->url_set(url, CURLUPART_URL, base, 0) == 0 &&
                         downloader->url_set(url, CURLUPART_URL, reference, 0) == 0 &&
                         downloader->url_get(url, CURLUPART_URL, &text, 0) == 0 && text;
    if (is_read) copy = px_strdup(text, strlen(text));
    if (text) downloader->free_text(text);
    if (url) downloader->url_cleanup(url);
    if (is_read && !copy) return px_fail_memory(error, strlen(reference));
    if (!is_read)
        return px_fail(error, PHLOX_ERROR_FORMAT, "\"%.200s\" is no address that can be fetched",
                       reference);
    *out = copy;
    return PHLOX_OK;
}

/* ---- one attempt --------------------------------------------------------------------------- */

typedef struct receiver {
    px_downloader *downloader;
    const px_transfer *transfer;
    px_buffer *page;         /* or */
    const px_out_file *file;
    uint64_t received, before; /* bytes; those of earlier attempts */
    px_sha256 hash;
    phlox_status status; /* what a callback failed with */
    phlox_error *error;
    char *name; /* of the address, for messages */
    char message[ERROR_SIZE];
} receiver;

static size_t take_bytes(char *data, size_t size, size_t count, void *user)
{
    receiver *const r = user;
    const size_t bytes = size * count;
    if (bytes > r->transfer->most - r->received) {
        r->status = px_fail(r->error, PHLOX_ERROR_FORMAT, "%s: more than %llu bytes; nothing is kept",
                            r->name, (unsigned long long)r->transfer->most);
        return 0;
    }
    r->status = r->file ? px_out_write(r->file, r->received, data, bytes, r->error)
                        : px_buffer_add(r->page, data, bytes, r->error);
    if (r->status != PHLOX_OK) return 0;
    px_sha256_add(&r->hash, data, bytes);
    r->received += bytes;
    return bytes;
}

static bool report(receiver *r, uint64_t total)
{
    const px_transfer *const t = r->transfer;
    if (!t->progress) return true;
    const phlox_progress progress = {t->what, r->received, total < r->received ? 0 : total, true};
    if (t->progress(t->progress_user, &progress)) return true;
    r->status = px_fail(r->error, PHLOX_ERROR_CANCELLED, "cancelled");
    return false;
}

static int take_progress(void *user, int64_t total, int64_t now, int64_t up_total, int64_t up_now)
{
    (void)now, (void)up_total, (void)up_now;
    receiver *const r = user;
    const uint64_t rest = total > 0 ? (uint64_t)total : 0;
    return report(r, r->transfer->size ? r->transfer->size : r->before + rest) ? 0 : 1;
}

static void set_schemes(px_downloader *d, void *easy, int words, int bits, unsigned schemes)
{
    char text[24] = "";
    long mask = 0;
    if (schemes & PX_SCHEME_HTTPS) strcat(text, "https"), mask |= CURLPROTO_HTTPS;
    if (schemes & PX_SCHEME_HTTP) strcat(text, ",http"), mask |= CURLPROTO_HTTP;
    if (schemes & PX_SCHEME_FILE) strcat(text, ",file"), mask |= CURLPROTO_FILE;
    if (d->easy_setopt(easy, words, text[0] == ',' ? text + 1 : text) != CURLE_OK)
        d->easy_setopt(easy, bits, mask); /* before 7.85 */
}

static void set_options(receiver *r, void *easy, curl_slist *headers)
{
    px_downloader *const d = r->downloader;
    const px_transfer *const t = r->transfer;
    const char *const authorities = getenv("SSL_CERT_FILE");
    d->easy_setopt(easy, CURLOPT_URL, t->url);
    d->easy_setopt(easy, CURLOPT_ERRORBUFFER, r->message);
    d->easy_setopt(easy, CURLOPT_USERAGENT, "phlox");
    d->easy_setopt(easy, CURLOPT_NOSIGNAL, 1l);
    d->easy_setopt(easy, CURLOPT_FAILONERROR, 1l);
    d->easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1l);
    d->easy_setopt(easy, CURLOPT_MAXREDIRS, 10l);
    d->easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)(t->stall ? t->stall : 20));
    d->easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 100l);
    d->easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)(t->stall ? t->stall : 30));
    d->easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_bytes);
    d->easy_setopt(easy, CURLOPT_WRITEDATA, r);
    d->easy_setopt(easy, CURLOPT_NOPROGRESS, 0l);
    d->easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, take_progress);
    d->easy_setopt(easy, CURLOPT_XFERINFODATA, r);
    set_schemes(d, easy, CURLOPT_PROTOCOLS_STR, CURLOPT_PROTOCOLS, t->schemes);
    set_schemes(d, easy, CURLOPT_REDIR_PROTOCOLS_STR, CURLOPT_REDIR_PROTOCOLS,
                (t->schemes & ~(unsigned)PX_SCHEME_FILE) | PX_SCHEME_HTTPS);
    if (headers) d->easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    if (r->page) d->easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
    if (authorities && authorities[0]) d->easy_setopt(easy, CURLOPT_CAINFO, authorities);
    if (r->received) d->easy_setopt(easy, CURLOPT_RESUME_FROM_LARGE, (int64_t)r->received);
}

/* How an attempt ended: libcurl's code, and the status of the answer, 0 when there was none, of the server and of
 * a proxy that was to make the connection to it. */
typedef struct ending {
    int code;
    long http, proxy;
} ending;

static phlox_status fail_http(const receiver *r, long code)
{
    if (code == 404 || code == 410)
        return px_fail(r->error, PHLOX_ERROR_NOT_FOUND, "%s: is not there (HTTP status %ld)", r->name, code);
    return px_fail(r->error, PHLOX_ERROR_IO, "%s: the server refuses it (HTTP status %ld)%s", r->name, code,
                   code >= 500 || code == 429 ? "; try again later" : "");
}

/* Whether the server cannot be reached, or says nothing at all. */
static bool is_unreachable(const receiver *r, const ending *end)
{
    switch (end->code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT: return true;
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_HTTP_RETURNED_ERROR: /* of a proxy */
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR: return !r->received && !end->http;
    default: return false;
    }
}

static phlox_status fail_unreachable(const receiver *r, const ending *end, const char *why)
{
    char refused[80];
    snprintf(refused, sizeof refused, "the proxy refuses it (HTTP status %ld)", end->proxy);
    return px_fail(r->error, PHLOX_ERROR_IO,
                   "%s: no connection: %s; check the network, and the proxy in https_proxy if it needs one",
                   r->name, end->proxy >= 300 ? refused : why);
}

static phlox_status fail_transfer(const receiver *r, const ending *end)
{
    const char *const why = r->message[0] ? r->message : r->downloader->easy_strerror(end->code);
    if (is_unreachable(r, end)) return fail_unreachable(r, end, why);
    switch (end->code) {
    case CURLE_HTTP_RETURNED_ERROR: return fail_http(r, end->http);
    case CURLE_FILE_COULDNT_READ_FILE:
        return px_fail(r->error, PHLOX_ERROR_NOT_FOUND, "%s: cannot be read", r->name);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return px_fail(r->error, PHLOX_ERROR_IO,
                       "%s: %s; install the system's certificates (on Debian: apt install "
                       "ca-certificates) or name a file of them in SSL_CERT_FILE", r->name, why);
    default:
        return px_fail(r->error, PHLOX_ERROR_IO, "%s: the transfer failed: %s", r->name, why);
    }
}

typedef enum outcome { DONE, FAILED, BROKEN, RESTART } outcome;

/* What may end otherwise the next time. */
static outcome judge(const receiver *r, const ending *end)
{
    if (end->code == CURLE_OK) return DONE;
    if (r->status != PHLOX_OK) return FAILED;
    switch (end->code) {
    case CURLE_RANGE_ERROR: return RESTART;
    case CURLE_HTTP_RETURNED_ERROR:
        if (end->http == 416) return RESTART;
        return end->http == 408 || end->http == 429 || end->http >= 500 ? BROKEN : FAILED;
    case CURLE_HTTP2:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_HTTP2_STREAM:
    case CURLE_HTTP3: return BROKEN;
    case CURLE_RECV_ERROR: return end->proxy >= 300 ? FAILED : BROKEN;
    case CURLE_OPERATION_TIMEDOUT: return r->received > r->before ? BROKEN : FAILED;
    default: return FAILED;
    }
}

/* Describes in r->error what went wrong unless it is done. */
static outcome attempt(receiver *r, char **final)
{
    px_downloader *const d = r->downloader;
    void *const easy = d->easy_init();
    char header[160];
    curl_slist *headers = NULL;
    if (!easy) {
        r->status = px_fail_memory(r->error, sizeof *r);
        return FAILED;
    }
    if (r->transfer->accept) {
        snprintf(header, sizeof header, "Accept: %s", r->transfer->accept);
        headers = d->slist_append(NULL, header);
    }
    r->message[0] = 0;
    r->before = r->received;
    set_options(r, easy, headers);
    const char *effective = NULL;
    ending end = {.code = d->easy_perform(easy)};
    d->easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &end.http);
    d->easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &end.proxy);
    const outcome result = judge(r, &end);
    if (result != DONE && r->status == PHLOX_OK) fail_transfer(r, &end);
    if (result == DONE && final && d->easy_getinfo(easy, CURLINFO_EFFECTIVE_URL, &effective) == CURLE_OK &&
        effective)
        *final = px_strdup(effective, strlen(effective));
    d->slist_free_all(headers);
    d->easy_cleanup(easy);
    return result;
}

/* ---- the whole transfer -------------------------------------------------------------------- */

static void begin(receiver *r)
{
    r->received = 0;
    if (r->page) r->page->size = 0;
    px_sha256_begin(&r->hash);
}

/* Waits before another attempt; false when cancelled. */
static bool wait_for(receiver *r, double seconds)
{
    for (double waited = 0; waited < seconds; waited += 0.05) {
        if (!report(r, r->transfer->size)) return false;
        px_sleep(0.05);
    }
    return true;
}

/* Tries again as long as attempts bring something, and three times when they do not. */
static phlox_status receive(receiver *r, char **final)
{
    enum { MOST_ATTEMPTS = 200, MOST_IDLE = 3 };
    int idle = 0;
    begin(r);
    for (int i = 0; i < MOST_ATTEMPTS; i++) {
        const outcome result = attempt(r, final);
        if (result == DONE) return PHLOX_OK;
        if (result == FAILED) break;
        idle = r->received > r->before ? 0 : idle + 1;
        if (idle == MOST_IDLE || !wait_for(r, 0.25 * (1 << idle))) break;
        if (result == RESTART || r->page) begin(r);
    }
    return r->status != PHLOX_OK ? r->status : r->error ? r->error->code : PHLOX_ERROR_IO;
}

static phlox_status check(receiver *r)
{
    const px_transfer *const t = r->transfer;
    char digest[PX_SHA256_TEXT];
    if (t->size && r->received != t->size)
        return px_fail(r->error, PHLOX_ERROR_FORMAT, "%s: %llu bytes came and not the %llu that the index "
                       "names; nothing is kept", r->name, (unsigned long long)r->received,
                       (unsigned long long)t->size);
    px_sha256_end(&r->hash, digest);
    if (t->sha256 && strcmp(digest, t->sha256) != 0)
        return px_fail(r->error, PHLOX_ERROR_FORMAT,
                       "%s: its SHA-256 is %s, but the index names %s; nothing is kept. Try again; if it "
                       "stays so, do not trust this index", r->name, digest, t->sha256);
    return PHLOX_OK;
}

static phlox_status run(receiver *r, char **final)
{
    phlox_error own; /* so that there is a code to return */
    if (!r->error) r->error = &own;
    r->name = px_url_without_secrets(r->transfer->url);
    if (!r->name) return px_fail_memory(r->error, strlen(r->transfer->url));
    phlox_status status =
        px_url_scheme(r->transfer->url) & r->transfer->schemes
            ? receive(r, final)
            : px_fail(r->error, PHLOX_ERROR_UNSUPPORTED,
                      "%s: is not fetched: only https is, and http or file where the address of the "
                      "index begins so", r->name);
    if (status == PHLOX_OK) status = check(r);
    free(r->name);
    return status;
}

phlox_status px_download_page(px_downloader *downloader, const px_transfer *transfer, px_buffer *out,
                              char **final, phlox_error *error)
{
    px_buffer page = {0};
    char *address = NULL;
    receiver r = {.downloader = downloader, .transfer = transfer, .page = &page, .error = error};
    phlox_status status = run(&r, &address);
    if (status == PHLOX_OK && !address) status = px_fail_memory(error, strlen(transfer->url));
    if (status == PHLOX_OK) status = px_buffer_reserve(&page, 1, error);
    if (status != PHLOX_OK) {
        px_buffer_free(&page);
        free(address);
        return status;
    }
    page.data[page.size] = 0;
    *out = page;
    if (final) *final = address;
    else free(address);
    return PHLOX_OK;
}

phlox_status px_download_file(px_downloader *downloader, const px_transfer *transfer,
                              const px_out_file *file, uint64_t *size, phlox_error *error)
{
    receiver r = {.downloader = downloader, .transfer = transfer, .file = file, .error = error};
    PX_TRY(run(&r, NULL));
    *size = r.received;
    return PHLOX_OK;
}
