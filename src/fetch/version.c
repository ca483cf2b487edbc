#include "fetch/version.h"

#include "base/memory.h"

#include <string.h>

/* ---- reading ------------------------------------------------------------------------------- */

struct reader {
    const char *at, *end;
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_separator(char c)
{
    return c == '.' || c == '-' || c == '_';
}

static bool take(struct reader *r, char c)
{
    if (r->at == r->end || *r->at != c) return false;
    r->at++;
    return true;
}

/* Up to 18 digits, which always fit. */
static bool take_number(struct reader *r, uint64_t *out)
{
    const char *const first = r->at;
    uint64_t value = 0;
    for (; r->at < r->end && is_digit(*r->at); r->at++) {
        if (r->at - first == 18) return false;
        value = value * 10 + (uint64_t)(*r->at - '0');
    }
    *out = value;
    return r->at > first;
}

/* One of `words`, which ends with NULL, with an optional separator on each side; then a number, 0 when
 * it is left out. The reader stays where it was when there is none. Returns the index of the word or -1. */
static int take_segment(struct reader *r, const char *const *words, uint64_t *number)
{
    struct reader s = *r;
    if (s.at < s.end && is_separator(*s.at)) s.at++;
    for (int i = 0; words[i]; i++) {
        const size_t length = strlen(words[i]);
        size_t same = 0;
        while (same < length && same < (size_t)(s.end - s.at) && lower(s.at[same]) == words[i][same])
            same++;
        if (same < length) continue;
        s.at += length;
        if (s.at < s.end && is_separator(*s.at)) s.at++;
        *number = 0;
        if (s.at < s.end && is_digit(*s.at) && !take_number(&s, number)) return -1;
        *r = s;
        return i;
    }
    return -1;
}

static bool take_release(struct reader *r, px_version *v)
{
    if (!take_number(r, &v->release[0])) return false;
    if (take(r, '!')) {
        v->epoch = v->release[0];
        if (!take_number(r, &v->release[0])) return false;
    }
    for (v->parts = 1; r->end - r->at >= 2 && *r->at == '.' && is_digit(r->at[1]); v->parts++) {
        r->at++;
        if (v->parts == PX_VERSION_PARTS || !take_number(r, &v->release[v->parts])) return false;
    }
    return true;
}

static bool take_local(struct reader *r, px_version *v)
{
    size_t used = 0;
    bool after_separator = true;
    for (; r->at < r->end; r->at++) {
        const char c = lower(*r->at);
        const bool separates = is_separator(c);
        if (!separates && !is_digit(c) && !(c >= 'a' && c <= 'z')) return false;
        if ((separates && after_separator) || used + 1 == sizeof v->local) return false;
        v->local[used++] = separates ? '.' : c;
        after_separator = separates;
    }
    return !after_separator;
}

bool px_version_read(const char *text, size_t size, px_version *out)
{
    static const char *const pre[] = {"alpha", "a", "beta", "b", "preview", "pre", "rc", "c", NULL};
    static const char letters[] = "aabbcccc";
    static const char *const post[] = {"post", "rev", "r", NULL}, *const dev[] = {"dev", NULL};
    struct reader r = {text, text + size};
    px_version v = {0};
    if (!take(&r, 'v')) take(&r, 'V');
    if (!take_release(&r, &v)) return false;
    const int which = take_segment(&r, pre, &v.pre_number);
    if (which >= 0) v.pre = letters[which];
    if (r.end - r.at >= 2 && *r.at == '-' && is_digit(r.at[1])) {
        r.at++;
        v.has_post = take_number(&r, &v.post);
    } else {
        v.has_post = take_segment(&r, post, &v.post) >= 0;
    }
    v.has_dev = take_segment(&r, dev, &v.dev) >= 0;
    if (take(&r, '+') && !take_local(&r, &v)) return false;
    if (r.at != r.end) return false;
    *out = v;
    return true;
}

/* ---- order --------------------------------------------------------------------------------- */

static int order(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_release(const px_version *a, const px_version *b)
{
    if (a->epoch != b->epoch) return order(a->epoch, b->epoch);
    for (int i = 0; i < PX_VERSION_PARTS; i++)
        if (a->release[i] != b->release[i]) return order(a->release[i], b->release[i]);
    return 0;
}

/* 1.0.dev1 < 1.0a1.dev1 < 1.0a1 < 1.0b1 < 1.0rc1 < 1.0 < 1.0.post1 */
static int rank_pre(const px_version *v)
{
    if (v->pre) return v->pre;
    return v->has_dev && !v->has_post ? 0 : 'z';
}

/* Parts of digits are numbers and newer than words. */
static int compare_local(const char *a, const char *b)
{
    while (*a && *b) {
        const size_t m = strcspn(a, "."), n = strcspn(b, ".");
        const bool is_number = strspn(a, "0123456789") == m, other = strspn(b, "0123456789") == n;
        if (is_number != other) return is_number ? 1 : -1;
        size_t i = 0, j = 0;
        if (is_number) {
            while (i < m && a[i] == '0') i++;
            while (j < n && b[j] == '0') j++;
            if (m - i != n - j) return order(m - i, n - j);
        }
        const int sign = memcmp(a + i, b + j, PX_MIN(m - i, n - j));
        if (sign) return sign;
        if (m - i != n - j) return order(m - i, n - j);
        a += m + (a[m] == '.');
        b += n + (b[n] == '.');
    }
    return (*a != 0) - (*b != 0);
}

/* Without what stands behind the plus. */
static int compare_public(const px_version *a, const px_version *b)
{
    const int release = compare_release(a, b);
    if (release) return release;
    const int pre = rank_pre(a) - rank_pre(b);
    if (pre) return pre;
    if (a->pre_number != b->pre_number) return order(a->pre_number, b->pre_number);
    if (a->has_post != b->has_post) return a->has_post ? 1 : -1;
    if (a->post != b->post) return order(a->post, b->post);
    if (a->has_dev != b->has_dev) return a->has_dev ? -1 : 1;
    return order(a->dev, b->dev);
}

int px_version_compare(const px_version *a, const px_version *b)
{
    const int sign = compare_public(a, b);
    return sign ? sign : compare_local(a->local, b->local);
}

bool px_version_is_final(const px_version *version)
{
    return !version->pre && !version->has_dev;
}

int px_version_order(const char *a, const char *b)
{
    px_version va, vb;
    const bool has_a = px_version_read(a, strlen(a), &va), has_b = px_version_read(b, strlen(b), &vb);
    if (has_a && has_b) return px_version_compare(&va, &vb);
    return has_a != has_b ? (has_a ? 1 : -1) : strcmp(a, b);
}

/* ---- requirements -------------------------------------------------------------------------- */

/* Whether the first `parts` numbers are the same. */
static bool begins_with(const px_version *v, const px_version *prefix, int parts)
{
    if (v->epoch != prefix->epoch) return false;
    for (int i = 0; i < parts; i++)
        if (v->release[i] != prefix->release[i]) return false;
    return true;
}

static bool meets_one(const px_version *v, const char *sign, const char *text, size_t size)
{
    const bool is_prefix = size > 2 && memcmp(text + size - 2, ".*", 2) == 0;
    px_version wanted;
    if (!px_version_read(text, is_prefix ? size - 2 : size, &wanted)) return false;
    const int compared = compare_public(v, &wanted);
    const bool is_same = is_prefix          ? begins_with(v, &wanted, wanted.parts)
                         : wanted.local[0] ? px_version_compare(v, &wanted) == 0
                                           : compared == 0;
    if (strcmp(sign, "==") == 0 || strcmp(sign, "===") == 0) return is_same;
    if (strcmp(sign, "!=") == 0) return !is_same;
    if (is_prefix) return false;
    if (strcmp(sign, ">=") == 0) return compared >= 0;
    if (strcmp(sign, "<=") == 0) return compared <= 0;
    if (strcmp(sign, "~=") == 0)
        return wanted.parts > 1 && compared >= 0 && begins_with(v, &wanted, wanted.parts - 1);
    /* A release that is excluded is so with its pre-releases below and its post-releases above. */
    const bool same_release = compare_release(v, &wanted) == 0;
    if (strcmp(sign, "<") == 0)
        return compared < 0 && (px_version_is_final(v) || !px_version_is_final(&wanted) || !same_release);
    if (strcmp(sign, ">") == 0)
        return compared > 0 && (!v->has_post || wanted.has_post || !same_release);
    return false;
}

bool px_version_meets(const px_version *version, const char *list)
{
    const char *at = list + strspn(list, " ");
    while (*at) {
        char sign[4] = "";
        const size_t length = strspn(at, "=<>!~");
        if (!length || length >= sizeof sign) return false;
        memcpy(sign, at, length);
        at += length;
        at += strspn(at, " ");
        const size_t size = strcspn(at, ", ");
        if (!meets_one(version, sign, at, size)) return false;
        at += size;
        at += strspn(at, ", ");
    }
    return true;
}
