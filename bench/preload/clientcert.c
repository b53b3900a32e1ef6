/*
 * wrk and h2load have no option for a client certificate. Preloaded into them, this gives every TLS context one,
 * from the files named by BENCH_CLIENT_CERT and BENCH_CLIENT_KEY. A server that asks for none gets none, so the
 * same tool, with the same cost, drives every target of a measurement.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

typedef void *(*new_fn)(const void *);
typedef int (*chain_fn)(void *, const char *);
typedef int (*key_fn)(void *, const char *, int);

static const int pem = 1; /* SSL_FILETYPE_PEM */

void *SSL_CTX_new(const void *method)
{
	new_fn make = (new_fn)dlsym(RTLD_NEXT, "SSL_CTX_new");
	chain_fn use_chain = (chain_fn)dlsym(RTLD_NEXT, "SSL_CTX_use_certificate_chain_file");
	key_fn use_key = (key_fn)dlsym(RTLD_NEXT, "SSL_CTX_use_PrivateKey_file");
	const char *cert = getenv("BENCH_CLIENT_CERT"), *key = getenv("BENCH_CLIENT_KEY");
	void *ctx = make(method);

	if (ctx && cert && key && (use_chain(ctx, cert) != 1 || use_key(ctx, key, pem) != 1)) {
		fprintf(stderr, "clientcert: cannot use %s with %s\n", cert, key);
		exit(1);
	}
	return ctx;
}
