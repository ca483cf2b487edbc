#include "text/utf8.h"

#include <utf8proc.h>

/* Bytes of the sequence that `lead` opens (0: none) and the allowed values of the second byte,
 * which keep out overlong forms, surrogates and values above U+10FFFF. */
static size_t sequence_length(uint8_t lead, uint8_t *low, uint8_t *high)
{
    *low = 0x80, *high = 0xbf;
    if (lead < 0x80) return 1;
    if (lead >= 0xc2 && lead <= 0xdf) return 2;
    if (lead >= 0xe0 && lead <= 0xef) {
        if (lead == 0xe0) *low = 0xa0;
        if (lead == 0xed) *high = 0x9f;
        return 3;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        if (lead == 0xf0) *low = 0x90;
        if (lead == 0xf4) *high = 0x8f;
        return 4;
    }
    return 0;
}

px_utf8_kind px_utf8_look(const char *text, size_t size, size_t *length)
{
    uint8_t low, high;
    const size_t need = sequence_length((uint8_t)text[0], &low, &high);
    *length = 1;
    if (need == 0) return PX_UTF8_INVALID;
    for (size_t i = 1; i < need; i++) {
        if (i >= size) return PX_UTF8_INCOMPLETE;
        const uint8_t byte = (uint8_t)text[i];
        if (byte < low || byte > high) return PX_UTF8_INVALID;
        low = 0x80, high = 0xbf;
        *length = i + 1;
    }
    return PX_UTF8_VALID;
}

size_t px_utf8_valid_prefix(const char *text, size_t size)
{
    size_t at = 0, length;
    while (at < size) {
        if ((uint8_t)text[at] < 0x80) {
            at++;
            continue;
        }
        if (px_utf8_look(text + at, size - at, &length) != PX_UTF8_VALID) return at;
        at += length;
    }
    return size;
}

uint32_t px_utf8_next(const char *text, size_t *at)
{
    const uint8_t *const byte = (const uint8_t *)text + *at;
    if (byte[0] < 0x80) {
        *at += 1;
        return byte[0];
    }
    if (byte[0] < 0xe0) {
        *at += 2;
        return (uint32_t)(byte[0] & 0x1f) << 6 | (byte[1] & 0x3f);
    }
    if (byte[0] < 0xf0) {
        *at += 3;
        return (uint32_t)(byte[0] & 0x0f) << 12 | (uint32_t)(byte[1] & 0x3f) << 6 |
               (byte[2] & 0x3f);
    }
    *at += 4;
    return (uint32_t)(byte[0] & 0x07) << 18 | (uint32_t)(byte[1] & 0x3f) << 12 |
           (uint32_t)(byte[2] & 0x3f) << 6 | (byte[3] & 0x3f);
}

uint32_t px_utf8_previous(const char *text, size_t *at)
{
    size_t start = *at - 1;
    while (start > 0 && ((uint8_t)text[start] & 0xc0) == 0x80) start--;
    size_t end = start;
    *at = start;
    return px_utf8_next(text, &end);
}

size_t px_utf8_write(uint32_t code_point, char *out)
{
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (char)(0xc0 | code_point >> 6);
        out[1] = (char)(0x80 | (code_point & 0x3f));
        return 2;
    }
    if (code_point < 0x10000) {
        out[0] = (char)(0xe0 | code_point >> 12);
        out[1] = (char)(0x80 | (code_point >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code_point & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code_point >> 18);
    out[1] = (char)(0x80 | (code_point >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code_point >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code_point & 0x3f));
    return 4;
}

bool px_is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

/* Symbols with the property Other_Alphabetic: circled and squared letters. */
static bool is_alphabetic_symbol(uint32_t c)
{
    return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
           (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
}

bool px_is_word(uint32_t c)
{
    if (c < 0x80)
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_';
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return c == 0x200c || c == 0x200d || is_alphabetic_symbol(c);
    }
}
