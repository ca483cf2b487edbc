/*
 * Transfers by libcurl, which is opened at run time. HTTPS, and plain HTTP or files only where the
 * caller says so; proxies from the usual variables; broken and stalled transfers are tried again from
 * where they broke; sizes are limited, and SHA-256 is computed while the bytes arrive.
 */
#ifndef PX_FETCH_DOWNLOAD_H
#define PX_FETCH_DOWNLOAD_H

#include "base/os.h"

typedef struct px_downloader px_downloader;

/* PHLOX_ERROR_UNSUPPORTED, naming the package, where the system has no libcurl. Used by one thread at a
 * time. */
phlox_status px_downloader_open(px_downloader **out, phlox_error *error);
void px_downloader_close(px_downloader *downloader); /* NULL is accepted */

/* Schemes of addresses, as bits. */
enum { PX_SCHEME_HTTPS = 1, PX_SCHEME_HTTP = 2, PX_SCHEME_FILE = 4 };

/* That of an address; 0 when it is none of these. */
unsigned px_url_scheme(const char *url);
/* The address with "***" in place of a user's name and password, for messages; free() it. */
char *px_url_without_secrets(const char *url);
/* What `reference` means on the page at `base`; free(*out). */
phlox_status px_url_resolve(px_downloader *downloader, const char *base, const char *reference,
                            char **out, phlox_error *error);

typedef struct px_transfer {
    const char *url;
    unsigned schemes;   /* that are allowed, also after redirection */
    const char *accept; /* the Accept header's value; NULL: anything */
    uint64_t most;      /* bytes; more is PHLOX_ERROR_FORMAT */
    const char *sha256; /* that the bytes must have; NULL: unknown */
    uint64_t size;      /* that there must be; 0: unknown */
    long stall;         /* seconds with next to no bytes after which the connection is given up; 0: 30 */
    phlox_progress_fn *progress; /* may be NULL */
    void *progress_user;
    const char *what;   /* for the progress: "downloading" */
} px_transfer;

/* Reads a page into memory, followed by a NUL that is not counted. *final (may be NULL) becomes its
 * address after redirection; free() it. */
phlox_status px_download_page(px_downloader *downloader, const px_transfer *transfer, px_buffer *out,
                              char **final, phlox_error *error);

/* Writes to an open file, which the caller commits or abandons; *size becomes the number of bytes. */
phlox_status px_download_file(px_downloader *downloader, const px_transfer *transfer,
                              const px_out_file *file, uint64_t *size, phlox_error *error);

#endif
