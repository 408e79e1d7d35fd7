// What the C and C++ workloads of known call chains share.
#ifndef CHAIN_H
#define CHAIN_H
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../burn.h"

// Stays a function of its own, called as written: no inlining, cloning, folding or removal of arguments.
#if defined(__clang__)
#define KEEP __attribute__((noinline))
#else
#define KEEP __attribute__((noipa))
#endif

#ifdef __cplusplus
extern "C" {
#endif
// Burners, in leaf.c. What they return depends on all they did.
unsigned long alpha(long rounds);
unsigned long beta(long rounds);
unsigned long gamma_(long rounds);
#ifdef __cplusplus
}
#endif

// Burns about 50 : 30 : 20 and adds the seconds of the thread's CPU clock to `shares`.
#define BURN(shares)                    \
    do {                                \
        long rounds_ = varied(2000);    \
        double t0_ = cpu();             \
        sink += alpha(5 * rounds_);     \
        double t1_ = cpu();             \
        sink += beta(3 * rounds_);      \
        double t2_ = cpu();             \
        sink += gamma_(2 * rounds_);    \
        double t3_ = cpu();             \
        (shares)[0] += t1_ - t0_;       \
        (shares)[1] += t2_ - t1_;       \
        (shares)[2] += t3_ - t2_;       \
    } while (0)

// The program's own truth, as a line of JSON.
__attribute__((unused)) static void print_truth(const double *shares) {
    printf("{\"pid\": %d, \"alpha\": %.6f, \"beta\": %.6f, \"gamma_\": %.6f, \"cpu_seconds\": %.6f}\n", (int)getpid(),
           shares[0], shares[1], shares[2], cpu());
}
#endif
