// Burns CPU in alpha, beta and gamma in the proportions 50 : 30 : 20 under main > work, until SIGTERM or for the
// given seconds. The shares are those of its own thread CPU clock, printed as JSON at the end.
#include <stdio.h>
#include <stdlib.h>

#include "burn.h"

// Each its own body: identical functions may be folded into one.
#define BURNER(name, salt)                                      \
    __attribute__((noinline, noclone)) void name(long rounds) { \
        FRAME;                                                  \
        for (long i = 0; i < rounds; i++) sink = sink * 31 + salt; \
    }

BURNER(alpha, 1)
BURNER(beta, 2)
BURNER(gamma_, 3)

__attribute__((noinline, noclone)) void work(double *shares) {
    long rounds = varied(10000);
    double t0 = cpu();
    alpha(5 * rounds);
    double t1 = cpu();
    beta(3 * rounds);
    double t2 = cpu();
    gamma_(2 * rounds);
    double t3 = cpu();
    shares[0] += t1 - t0;
    shares[1] += t2 - t1;
    shares[2] += t3 - t2;
}

int main(int argc, char **argv) {
    signal(SIGTERM, on_term);
    double seconds = argc > 1 ? atof(argv[1]) : 1e9, shares[3] = {0};
    while (!stop && cpu() < seconds) work(shares);
    printf("{\"alpha\": %.6f, \"beta\": %.6f, \"gamma_\": %.6f, \"cpu_seconds\": %.6f}\n", shares[0], shares[1],
           shares[2], cpu());
    return 0;
}
